"""Rows of a dense matrix on disk: any range, so that no chunk is decompressed twice where memory allows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy.typing as npt

from pertcast_data.readers.compressed_rows import as_numbers
from pertcast_data.readers.source import rows_per_batch

_LARGEST_STRIP_BYTES: Final = 1 << 28


def dense_batches(
    matrix: Any, n_genes: int, rows: int | None, low: int, high: int
) -> Iterator[npt.NDArray[Any]]:
    """Yield the rows low..high of an array on disk, at most `rows` at a time.

    Parameters
    ----------
    matrix
        HDF5 dataset or Zarr array, (n_rows, n_genes), or of one dimension where one of them is 1.
    n_genes
        Number of genes.
    rows
        Rows of a batch; None: about 32 MiB.
    low, high
        Range of rows, exclusive at the end.
    """
    step = rows or rows_per_batch(n_genes, matrix.dtype.itemsize)
    strip = _strip_rows(matrix, n_genes, step)
    first = low
    while first < high:
        last = min(first - first % strip + strip, high)
        values = _read(matrix, n_genes, first, last)
        for begin in range(0, last - first, step):
            yield values[begin : begin + step]
        first = last


def chunk_rows(matrix: Any) -> int | None:
    """Return how many rows must be read at once (a shard's chunk); None where any number can."""
    return int(matrix.chunks[0]) if matrix.chunks else None


def _strip_rows(matrix: Any, n_genes: int, step: int) -> int:
    """Return how many rows are read at once: whole chunks, as long as they fit into 256 MiB."""
    chunk = chunk_rows(matrix)
    if chunk is None or chunk <= 0:
        return step
    if chunk <= step:
        return step - step % chunk
    fits = chunk * n_genes * matrix.dtype.itemsize <= _LARGEST_STRIP_BYTES
    return chunk if fits else step


def _read(matrix: Any, n_genes: int, first: int, last: int) -> npt.NDArray[Any]:
    is_one_profile = len(matrix.shape) == 1 and n_genes > 1
    values = matrix[...] if is_one_profile else matrix[first:last]
    return as_numbers(values).reshape(last - first, n_genes)
