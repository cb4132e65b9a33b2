"""The matrix X, written from buckets of rows: dense values, or the three arrays of a CSR matrix."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from pertcast_data.store.info import Codec, Layout
from pertcast_data.store.manifest import ShardRecord
from pertcast_data.store.row_blocks import RowBlock, index_type
from pertcast_data.store.shard_stream import ShardStream
from pertcast_data.store.zarr_layout import create_anndata_group, create_array, fitting_shard_rows


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


@dataclass(frozen=True)
class MatrixStart:
    """What stands before the new rows when a store grows: nothing, for a new one.

    Attributes
    ----------
    origin
        The store that grows.
    linked
        Its complete shards, taken over as they are.
    first_shard
        Number of complete shards.
    pieces
        The stored values after them, in order: (rows,) for dense, (indices, values) for CSR.
    row_lengths
        Non-zeros of each old row; empty for dense.
    """

    origin: Path = Path()
    linked: Sequence[ShardRecord] = ()
    first_shard: int = 0
    pieces: Iterable[tuple[NDArray[Any], ...]] = ()
    row_lengths: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def link_into(self, path: Path) -> list[ShardRecord]:
        """Give the complete shards a second name under `path` (a copy where links are not possible)."""
        for record in self.linked:
            target = path / record.path
            target.parent.mkdir(parents=True, exist_ok=True)
            if record.bytes:
                _link(self.origin / record.path, target)
        return list(self.linked)


RowSource = Iterator[tuple[int, list[RowBlock]]]
"""Yields, in storage order, the number of rows of a bucket and its blocks."""


def write_matrix(
    path: Path,
    plan: MatrixPlan,
    source: RowSource,
    wrote_rows: Callable[[int], None],
    start: MatrixStart | None = None,
) -> list[ShardRecord]:
    """Create the AnnData group at `path`, write X into it and return its records.

    Parameters
    ----------
    path
        An empty folder (temporary rows may lie in it).
    plan
        Shape and types of X.
    source
        The rows, in storage order.
    wrote_rows
        Told of each bucket's rows.
    start
        What precedes `source` when a store grows.
    """
    root = create_anndata_group(path)
    write = _write_csr if plan.layout == "csr" else _write_dense
    return write(root, path, plan, source, wrote_rows, start or MatrixStart())


def _write_dense(
    root: zarr.Group,
    path: Path,
    plan: MatrixPlan,
    source: RowSource,
    wrote_rows: Callable[[int], None],
    start: MatrixStart,
) -> list[ShardRecord]:
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
    records = start.link_into(path)
    stream = ShardStream(path, "X", start.first_shard)
    for (values,) in start.pieces:
        stream.append(values)
    for n_rows, blocks in source:
        values = np.empty((n_rows, plan.n_genes), dtype=np.float32)
        for block in blocks:
            values[block.positions] = block.arrays[0]
        stream.append(values)
        wrote_rows(n_rows)
    return [*records, *stream.close()]


def _write_csr(
    root: zarr.Group,
    path: Path,
    plan: MatrixPlan,
    source: RowSource,
    wrote_rows: Callable[[int], None],
    start: MatrixStart,
) -> list[ShardRecord]:
    _create_csr(root, plan)
    records = start.link_into(path)
    indices = ShardStream(path, "X/indices", start.first_shard)
    values = ShardStream(path, "X/data", start.first_shard)
    lengths: list[NDArray[np.int64]] = [np.zeros(1, np.int64), start.row_lengths]
    for old_indices, old_values in start.pieces:
        indices.append(old_indices)
        values.append(old_values)
    for n_rows, blocks in source:
        row_lengths, bucket_indices, bucket_values = _assemble(n_rows, blocks, plan)
        blocks.clear()
        lengths.append(row_lengths)
        indices.append(bucket_indices)
        values.append(bucket_values)
        wrote_rows(n_rows)
    indptr = ShardStream(path, "X/indptr")
    indptr.append(np.cumsum(np.concatenate(lengths)))
    return [*records, *indices.close(), *values.close(), *indptr.close()]


def _create_csr(root: zarr.Group, plan: MatrixPlan) -> None:
    group = root.create_group(
        "X",
        attributes={
            "encoding-type": "csr_matrix",
            "encoding-version": "0.1.0",
            "shape": [plan.n_rows, plan.n_genes],
        },
    )
    for name, dtype in (("indices", index_type(plan.n_genes)), ("data", plan.value_type)):
        create_array(
            group,
            name,
            shape=(plan.n_values,),
            chunks=(plan.chunk_length,),
            shards=(plan.shard_length,),
            dtype=dtype,
            codec=plan.codec,
        )
    # indptr is read whole: one chunk a shard.
    length = min(plan.n_rows + 1, 1 << 20)
    create_array(
        group,
        "indptr",
        shape=(plan.n_rows + 1,),
        chunks=(length,),
        shards=(length,),
        dtype=np.int64,
        codec=plan.codec,
    )


def _assemble(
    n_rows: int, blocks: Sequence[RowBlock], plan: MatrixPlan
) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[Any]]:
    """Bring the rows of a bucket into the order of their positions."""
    views: list[tuple[NDArray[Any], NDArray[Any]]] = [(np.empty(0), np.empty(0))] * n_rows
    lengths = np.zeros(n_rows, np.int64)
    for block in blocks:
        lengths[block.positions] = block.lengths
        stops = np.cumsum(block.lengths)
        starts = (stops - block.lengths).tolist()
        indices, values = block.arrays
        for position, start, stop in zip(block.positions.tolist(), starts, stops.tolist(), strict=True):
            views[position] = (indices[start:stop], values[start:stop])
    if not n_rows:
        return lengths, np.empty(0, index_type(plan.n_genes)), np.empty(0, plan.value_type)
    gene_indices = np.concatenate(
        [view[0] for view in views], dtype=index_type(plan.n_genes), casting="unsafe"
    )
    row_values = np.concatenate([view[1] for view in views], dtype=plan.value_type, casting="unsafe")
    return lengths, gene_indices, row_values


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        with target.open("rb") as file:
            os.fsync(file.fileno())
