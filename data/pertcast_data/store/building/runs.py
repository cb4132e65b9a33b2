"""Sorted runs: rows of a part of the source in the order of their final places, in memory or in a file.

A shard takes from each run one slice, so that reading stays sequential however the source was ordered.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from pertcast_data.errors import CorruptStore
from pertcast_data.store.manifest import write_atomically
from pertcast_data.store.row_blocks import NarrowBatch, RowBlock

RUN_SUFFIX: Final = ".run"
_FACTS_SUFFIX: Final = ".json"


class Run(Protocol):
    """Rows in the order of their final places."""

    @property
    def n_values(self) -> int:
        """Stored values of all its rows."""
        ...

    @property
    def value_type(self) -> np.dtype[Any]:
        """Type of its values."""
        ...

    def places(self) -> NDArray[np.int64]:
        """Return the final row of each of its rows, rising."""
        ...

    def lengths(self) -> NDArray[np.int64]:
        """Return the stored values of each of its rows; empty where rows are dense."""
        ...

    def between(self, first: int, stop: int) -> RowBlock:
        """Return its rows with a place in first..stop-1; their positions are counted from `first`."""
        ...


@dataclass(frozen=True)
class MemoryRun:
    """A run held in memory: `block.positions` are the places."""

    block: RowBlock

    @property
    def n_values(self) -> int:
        """Stored values of all its rows."""
        return int(self.block.arrays[-1].size)

    @property
    def value_type(self) -> np.dtype[Any]:
        """Type of its values."""
        return self.block.arrays[-1].dtype

    def places(self) -> NDArray[np.int64]:
        """Return the final row of each of its rows, rising."""
        return self.block.positions

    def lengths(self) -> NDArray[np.int64]:
        """Return the stored values of each of its rows; empty where rows are dense."""
        return self.block.lengths

    def between(self, first: int, stop: int) -> RowBlock:
        """Return a view of the rows with a place in first..stop-1."""
        low, high = np.searchsorted(self.block.positions, (first, stop)).tolist()
        positions = self.block.positions[low:high] - first
        if self.block.arrays[0].ndim == 2:
            return RowBlock(positions, self.block.lengths, (self.block.arrays[0][low:high],))
        begin = int(self.block.lengths[:low].sum())
        lengths = self.block.lengths[low:high]
        end = begin + int(lengths.sum())
        return RowBlock(positions, lengths, tuple(array[begin:end] for array in self.block.arrays))


@dataclass(frozen=True)
class FileRun:
    """A run in a file, read a slice at a time.

    The file holds places, offsets of the rows among the values (sparse rows only) and the arrays, one after
    the other. What describes it stands in a file of its own that appears when the run is safely on disk.
    """

    path: Path
    n_rows: int
    offsets_count: int
    widths: tuple[tuple[str, int], ...]
    n_values: int

    @property
    def value_type(self) -> np.dtype[Any]:
        """Type of its values."""
        return np.dtype(self.widths[-1][0])

    def places(self) -> NDArray[np.int64]:
        """Return the final row of each of its rows, rising."""
        return np.fromfile(self.path, np.int64, self.n_rows)

    def lengths(self) -> NDArray[np.int64]:
        """Return the stored values of each of its rows; empty where rows are dense."""
        offsets = np.fromfile(self.path, np.int64, self.offsets_count, offset=8 * self.n_rows)
        return offsets[1:] - offsets[:-1]

    def between(self, first: int, stop: int) -> RowBlock:
        """Read the rows with a place in first..stop-1."""
        head = np.memmap(self.path, np.int64, "r", shape=(self.n_rows + self.offsets_count,))
        low, high = np.searchsorted(head[: self.n_rows], (first, stop)).tolist()
        positions = np.asarray(head[low:high]) - first
        begin, end, lengths = low, high, np.empty(0, np.int64)
        if self.offsets_count:
            offsets = np.asarray(head[self.n_rows + low : self.n_rows + high + 1])
            begin, end, lengths = int(offsets[0]), int(offsets[-1]), np.diff(offsets)
        return RowBlock(positions, lengths, self._arrays(begin, end))

    def _arrays(self, begin: int, end: int) -> tuple[NDArray[Any], ...]:
        origin, arrays = 8 * (self.n_rows + self.offsets_count), []
        n_items = self.n_values if self.offsets_count else self.n_rows
        for name, width in self.widths:
            dtype = np.dtype(name)
            step = dtype.itemsize * width
            flat = np.fromfile(self.path, dtype, (end - begin) * width, offset=origin + begin * step)
            arrays.append(flat if self.offsets_count else flat.reshape(end - begin, width))
            origin += n_items * step
        return tuple(arrays)


def sorted_block(batches: Sequence[NarrowBatch], places: Sequence[NDArray[np.int64]]) -> RowBlock:
    """Return the rows of all batches in the order of their places, copied once."""
    together = np.concatenate(list(places))
    order = np.argsort(together, kind="stable")
    if batches[0].indices is None:
        return RowBlock(together[order], np.empty(0, np.int64), (_dense_rows(batches, order),))
    lengths = np.concatenate([np.diff(each.indptr) for each in batches if each.indptr is not None])
    indices = [(each.indices, each.indptr) for each in batches]
    values = [(each.values, each.indptr) for each in batches]
    gathered = (_sparse_rows(indices, order), _sparse_rows(values, order))
    return RowBlock(together[order], lengths[order], gathered)


def _dense_rows(batches: Sequence[NarrowBatch], order: NDArray[np.int64]) -> NDArray[Any]:
    if len(batches) == 1:
        return batches[0].values[order]
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    rows = np.empty((len(order), batches[0].values.shape[1]), batches[0].values.dtype)
    first = 0
    for batch in batches:
        rows[rank[first : first + batch.n_rows]] = batch.values
        first += batch.n_rows
    return rows


def _sparse_rows(parts: Sequence[tuple[Any, Any]], order: NDArray[np.int64]) -> NDArray[Any]:
    rows = [
        array[begin:end]
        for array, indptr in parts
        for begin, end in zip(indptr[:-1].tolist(), indptr[1:].tolist(), strict=True)
    ]
    together = np.result_type(*(array.dtype for array, _ in parts))
    dtype = np.dtype(np.float32) if together.kind == "f" else together
    return np.concatenate([rows[row] for row in order.tolist()] or [parts[0][0][:0]], dtype=dtype)


def write_run(path: Path, block: RowBlock) -> FileRun:
    """Write a sorted block as a run and bring it safely to disk.

    Parameters
    ----------
    path
        Without suffix; the run lies in `path`.run and is there once `path`.json is.
    block
        Rows in the order of their places.
    """
    sparse = block.arrays[0].ndim == 1
    offsets = (
        np.concatenate([[0], np.cumsum(block.lengths)]).astype(np.int64) if sparse else np.empty(0, np.int64)
    )
    widths = tuple((array.dtype.str, 1 if sparse else int(array.shape[1])) for array in block.arrays)
    run = FileRun(
        path.with_name(path.name + RUN_SUFFIX),
        len(block.positions),
        len(offsets),
        widths,
        int(block.arrays[-1].size),
    )
    with run.path.open("wb") as file:
        for array in (block.positions, offsets, *block.arrays):
            file.write(np.ascontiguousarray(array).data)
        file.flush()
        os.fsync(file.fileno())
        size = file.tell()
    facts = {"rows": run.n_rows, "offsets": run.offsets_count, "widths": widths, "values": run.n_values}
    content = json.dumps({**facts, "bytes": size}).encode()
    write_atomically(path.with_name(path.name + _FACTS_SUFFIX), content)
    return run


def read_run(path: Path) -> FileRun:
    """Return the run that `write_run` wrote at `path` (without suffix).

    Raises
    ------
    CorruptStore
        The file is not as it was written.
    """
    facts = json.loads(path.with_name(path.name + _FACTS_SUFFIX).read_bytes())
    file = path.with_name(path.name + RUN_SUFFIX)
    if not file.is_file() or file.stat().st_size != facts["bytes"]:
        raise CorruptStore(f"{file}: is missing or cut short. Remove {file.parent.parent} and ingest again.")
    widths = tuple((str(name), int(width)) for name, width in facts["widths"])
    return FileRun(file, facts["rows"], facts["offsets"], widths, facts["values"])
