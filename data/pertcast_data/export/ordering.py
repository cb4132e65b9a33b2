"""Stored values in any order of rows without reading a store over and over.

A reader on disk is quick for rows that lie together. Other orders go through temporary files without a name:
the store is read once as it lies, and each row is put where it belongs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from pertcast_data.progress import ProgressCallback
from pertcast_data.readers.source import rows_per_batch
from pertcast_data.readers.spill import scratch_array
from pertcast_data.store import ExpressionStore, RowReader

Block = tuple[int, Any]
"""First row, and values: an array or a CSR matrix."""


def value_type(reader: RowReader) -> np.dtype[Any]:
    """Return the float type that holds every stored value exactly."""
    stored = np.dtype(reader.raw(np.zeros(1, np.int64)).dtype)
    return np.dtype(np.float32) if np.can_cast(stored, np.float32) else np.dtype(np.float64)


def value_blocks(
    store: ExpressionStore, reader: RowReader, order: NDArray[np.int64], progress: ProgressCallback
) -> Iterator[Block]:
    """Yield stored values in `order`, about 32 MiB of dense rows at a time.

    Raises
    ------
    StorageError
        There is no room for the temporary files that another order takes.
    """
    as_stored = np.array_equal(order, np.arange(store.n_rows))
    if reader.is_in_memory or as_stored:
        yield from _read(reader, order, store.n_genes, progress, "writing")
    elif store.info.layout == "dense":
        yield from _turned_dense(store, reader, order, progress)
    else:
        yield from _turned_csr(store, reader, order, progress)


def _read(
    reader: RowReader, rows: NDArray[np.int64], n_genes: int, progress: ProgressCallback, note: str
) -> Iterator[Block]:
    size = rows_per_batch(n_genes)
    for start in range(0, len(rows), size):
        yield start, reader.raw(rows[start : start + size])
        progress(min(start + size, len(rows)), len(rows), note)


def _turned_dense(
    store: ExpressionStore, reader: RowReader, order: NDArray[np.int64], progress: ProgressCallback
) -> Iterator[Block]:
    turned = scratch_array((store.n_rows, store.n_genes), value_type(reader))
    place = np.argsort(order)
    for start, values in _read(reader, np.arange(store.n_rows), store.n_genes, progress, "ordering"):
        turned[place[start : start + len(values)]] = values
    size = rows_per_batch(store.n_genes)
    for start in range(0, store.n_rows, size):
        yield start, np.asarray(turned[start : start + size])
        progress(min(start + size, store.n_rows), store.n_rows, "writing")


def _turned_csr(
    store: ExpressionStore, reader: RowReader, order: NDArray[np.int64], progress: ProgressCallback
) -> Iterator[Block]:
    n_rows, n_genes = store.n_rows, store.n_genes
    everything = np.arange(n_rows)
    lengths = np.empty(n_rows, np.int64)
    for start, values in _read(reader, everything, n_genes, progress, "counting"):
        lengths[start : start + values.shape[0]] = np.diff(values.indptr)
    pointers = np.concatenate([[0], np.cumsum(lengths[order])])
    first_of_row = np.empty(n_rows, np.int64)
    first_of_row[order] = pointers[:-1]
    data = scratch_array((int(pointers[-1]),), value_type(reader))
    indices = scratch_array((int(pointers[-1]),), np.int32)
    for start, values in _read(reader, everything, n_genes, progress, "ordering"):
        rows = slice(start, start + values.shape[0])
        shift = np.repeat(first_of_row[rows] - values.indptr[:-1], lengths[rows])
        places = shift + np.arange(len(values.data))
        data[places], indices[places] = values.data, values.indices
    size = rows_per_batch(n_genes)
    for start in range(0, n_rows, size):
        own = pointers[start : start + size + 1]
        span = slice(int(own[0]), int(own[-1]))
        parts = (np.asarray(data[span]), np.asarray(indices[span]), own - own[0])
        yield start, sparse.csr_matrix(parts, shape=(len(own) - 1, n_genes))
        progress(min(start + size, n_rows), n_rows, "writing")
