"""The matrix X: its plan, its empty arrays, and its shards, each written whole by whoever comes to it.

A shard takes its rows out of sorted runs; for a sparse matrix it is a span of values, whose rows the row
pointers tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertcast_data.errors import CorruptStore
from pertcast_data.store.building.runs import Run
from pertcast_data.store.info import Codec, Layout
from pertcast_data.store.manifest import ShardRecord
from pertcast_data.store.row_blocks import RowBlock, index_type
from pertcast_data.store.zarr_layout import (
    create_anndata_group,
    create_array,
    fitting_shard_rows,
    open_array,
    write_array_shard,
)

_POINTERS_A_SHARD = 1 << 20


@dataclass(frozen=True)
class MatrixPlan:
    """Everything about X that must be fixed before its first byte is written.

    Attributes
    ----------
    layout, codec, n_rows, n_genes, n_values, value_type
        As in `StoreInfo`; `n_values` is the number of non-zeros for "csr".
    chunk_rows, shard_rows
        Rows of a chunk and of a shard; translated into non-zeros for "csr".
    chunk_length, shard_length
        Elements of a chunk and of a shard along the first axis of the value arrays.
    """

    layout: Layout
    codec: Codec
    n_rows: int
    n_genes: int
    n_values: int
    value_type: np.dtype[Any]
    chunk_rows: int
    shard_rows: int
    chunk_length: int
    shard_length: int

    @classmethod
    def fit(
        cls,
        layout: Layout,
        codec: Codec,
        shape: tuple[int, int],
        n_values: int,
        value_type: np.dtype[Any],
        rows: tuple[int, int],
    ) -> MatrixPlan:
        """Choose lengths of chunks and shards for `rows` = (chunk_rows, shard_rows)."""
        n_rows, n_genes = shape
        row_bytes = 4 * n_genes if layout == "dense" else 0
        chunk_rows, shard_rows = rows[0], fitting_shard_rows(n_rows, rows[0], rows[1], row_bytes)
        chunk, shard = chunk_rows, shard_rows
        if layout == "csr":
            chunk = max(1, round(n_values * chunk_rows / max(n_rows, 1)))
            shard = chunk * (shard_rows // chunk_rows)
        return cls(layout, codec, n_rows, n_genes, n_values, value_type, chunk_rows, shard_rows, chunk, shard)

    @property
    def n_shards(self) -> int:
        """Shards of the value arrays."""
        length = self.n_values if self.layout == "csr" else self.n_rows
        return -(-length // self.shard_length)


def create_matrix(path: Path, plan: MatrixPlan) -> None:
    """Create the AnnData group at `path` (an empty folder) with an X that holds nothing yet."""
    root = create_anndata_group(path)
    if plan.layout == "dense":
        create_array(
            root,
            "X",
            shape=(plan.n_rows, plan.n_genes),
            chunks=(plan.chunk_length, plan.n_genes),
            shards=(plan.shard_length, plan.n_genes),
            dtype=np.float32,
            codec=plan.codec,
            attributes={"encoding-type": "array", "encoding-version": "0.2.0"},
        )
        return
    attributes = {
        "encoding-type": "csr_matrix",
        "encoding-version": "0.1.0",
        "shape": [plan.n_rows, plan.n_genes],
    }
    group = root.create_group("X", attributes=attributes)
    pointers = min(plan.n_rows + 1, _POINTERS_A_SHARD)
    arrays = (
        ("indices", plan.n_values, (plan.chunk_length, plan.shard_length), index_type(plan.n_genes)),
        ("data", plan.n_values, (plan.chunk_length, plan.shard_length), plan.value_type),
        # Read whole: one chunk a shard.
        ("indptr", plan.n_rows + 1, (pointers, pointers), np.dtype(np.int64)),
    )
    for name, length, (chunk, shard), dtype in arrays:
        create_array(
            group, name, shape=(length,), chunks=(chunk,), shards=(shard,), dtype=dtype, codec=plan.codec
        )


def row_pointers(plan: MatrixPlan, runs: Sequence[Run]) -> NDArray[np.int64]:
    """Return where each row begins among the values, (n_rows + 1,); empty for a dense matrix.

    Raises
    ------
    CorruptStore
        The runs do not hold the values that were planned.
    """
    if plan.layout == "dense":
        return np.empty(0, np.int64)
    pointers = np.zeros(plan.n_rows + 1, np.int64)
    for run in runs:
        pointers[run.places() + 1] = run.lengths()
    np.cumsum(pointers, out=pointers)
    if int(pointers[-1]) != plan.n_values:
        raise CorruptStore(
            f"The sorted rows hold {pointers[-1]:,} values, {plan.n_values:,} were planned. Ingest again."
        )
    return pointers


def write_shard(
    path: Path, plan: MatrixPlan, runs: Sequence[Run], pointers: NDArray[np.int64], shard: int
) -> list[ShardRecord]:
    """Write one shard of X and return its records; safe from several processes for different shards.

    Parameters
    ----------
    path
        A group of `create_matrix`.
    plan
        Of X.
    runs
        All rows of X, each in one of them.
    pointers
        From `row_pointers`; may be a memory map.
    shard
        Number of the shard, from 0.
    """
    begin = shard * plan.shard_length
    if plan.layout == "dense":
        stop = min(begin + plan.shard_length, plan.n_rows)
        return [write_array_shard(path, open_array(path, "X"), "X", shard, _dense(plan, runs, begin, stop))]
    end = min(begin + plan.shard_length, plan.n_values)
    first = int(np.searchsorted(pointers, begin, side="right")) - 1
    stop = int(np.searchsorted(pointers, end, side="left"))
    indices, values = _sparse(plan, runs, first, stop)
    span = slice(begin - int(pointers[first]), end - int(pointers[first]))
    return [
        write_array_shard(path, open_array(path, name), name, shard, array[span])
        for name, array in (("X/indices", indices), ("X/data", values))
    ]


def write_row_pointers(path: Path, plan: MatrixPlan, pointers: NDArray[np.int64]) -> list[ShardRecord]:
    """Write X/indptr of a sparse matrix; nothing for a dense one."""
    if plan.layout == "dense":
        return []
    array = open_array(path, "X/indptr")
    length = (array.shards or array.chunks)[0]
    return [
        write_array_shard(path, array, "X/indptr", shard, np.asarray(pointers[begin : begin + length]))
        for shard, begin in enumerate(range(0, len(pointers), length))
    ]


def _blocks(runs: Sequence[Run], first: int, stop: int) -> list[RowBlock]:
    blocks = [block for run in runs if len((block := run.between(first, stop)).positions)]
    found = sum(len(block.positions) for block in blocks)
    if found != stop - first:
        raise CorruptStore(
            f"Rows {first:,} to {stop - 1:,} are {stop - first:,}, but {found:,} are there. Ingest again."
        )
    return blocks


def _dense(plan: MatrixPlan, runs: Sequence[Run], first: int, stop: int) -> NDArray[np.float32]:
    rows = np.empty((stop - first, plan.n_genes), np.float32)
    for block in _blocks(runs, first, stop):
        rows[block.positions] = block.arrays[0]
    return rows


def _sparse(
    plan: MatrixPlan, runs: Sequence[Run], first: int, stop: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    blocks = _blocks(runs, first, stop)
    indices: list[NDArray[Any]] = [np.empty(0)] * (stop - first)
    values = indices.copy()
    for block in blocks:
        ends = np.cumsum(block.lengths)
        begins = (ends - block.lengths).tolist()
        for position, begin, end in zip(block.positions.tolist(), begins, ends.tolist(), strict=True):
            indices[position] = block.arrays[0][begin:end]
            values[position] = block.arrays[1][begin:end]
    return (
        np.concatenate(indices, dtype=index_type(plan.n_genes), casting="unsafe"),
        np.concatenate(values, dtype=plan.value_type, casting="unsafe"),
    )
