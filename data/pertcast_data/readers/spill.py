"""Turning column-ordered data into rows with bounded memory: through a temporary file.

The files have no name on disk, so nothing is left behind however a run ends.
"""

from __future__ import annotations

import errno
import math
import os
import tempfile
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

from pertcast_data.errors import StorageError

RowOrdered: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[Any]]
"""Row pointers, column numbers and values of a row-compressed matrix."""


def scratch_array(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return a zeroed array that lives in an unnamed temporary file (in memory where it is empty).

    Raises StorageError where the disk has no room for it.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size == 0:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile(prefix="pertcast-") as file:
        _reserve(file.fileno(), size)
        return np.memmap(file, dtype=dtype, mode="r+", shape=shape)


def _reserve(descriptor: int, size: int) -> None:
    """Give a file its size and, where that can be done, its place: mapped pages cannot tell a full disk."""
    try:
        os.truncate(descriptor, size)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):
            return
        raise StorageError(
            f"{tempfile.gettempdir()}: no room for {size / 1e9:.1f} GB of temporary data ({error.strerror}). "
            "Free space there, or set TMPDIR to a larger disk."
        ) from error


def csc_to_row_order(
    indptr: npt.NDArray[np.int64], indices: Any, data: Any, n_rows: int, block_entries: int
) -> RowOrdered:
    """Bring a column-compressed matrix into row order, a block of columns at a time.

    Parameters
    ----------
    indptr
        Column pointers, (n_columns + 1,).
    indices, data
        Row numbers and values of the entries; array-likes that can be sliced (HDF5 datasets).
    n_rows
        Number of rows.
    block_entries
        About how many entries may be in memory at once.

    Returns
    -------
    RowOrdered
        Row pointers (n_rows + 1,), column numbers and values in row order (the last two on disk).

    Raises
    ------
    ValueError
        A row number is out of range.
    """
    total = int(indptr[-1])
    counts = np.zeros(n_rows, np.int64)
    for start in range(0, total, block_entries):
        rows = np.asarray(indices[start : start + block_entries])
        if rows.min() < 0 or rows.max() >= n_rows:
            raise ValueError(f"an entry stands in a row beyond the {n_rows} there are")
        counts += np.bincount(rows, minlength=n_rows)
    row_pointers = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    columns = scratch_array((total,), np.int32)
    values = scratch_array((total,), data.dtype)
    next_free = row_pointers[:-1].copy()
    for first, last in entry_blocks(indptr, block_entries):
        low, high = int(indptr[first]), int(indptr[last])
        block = sparse.csc_matrix(
            (data[low:high], indices[low:high], indptr[first : last + 1] - low), shape=(n_rows, last - first)
        ).tocsr()
        per_row = np.diff(block.indptr)
        target = np.repeat(next_free - block.indptr[:-1], per_row) + np.arange(high - low)
        columns[target] = block.indices + first
        values[target] = block.data
        next_free += per_row
    return row_pointers, columns, values


def entry_blocks(
    indptr: npt.NDArray[np.int64], block_entries: int, most: int | None = None
) -> Iterator[tuple[int, int]]:
    """Cut a compressed axis into runs (first, last) of at most `block_entries` entries and `most` lines."""
    n_lines = len(indptr) - 1
    first = 0
    while first < n_lines:
        last = int(np.searchsorted(indptr, indptr[first] + block_entries, side="right")) - 1
        last = min(max(last, first + 1), n_lines, first + most if most else n_lines)
        yield first, last
        first = last


def entries_to_row_order(
    rows: npt.NDArray[np.int32],
    columns: npt.NDArray[np.int32],
    values: npt.NDArray[Any],
    n_rows: int,
    block_entries: int,
) -> RowOrdered:
    """Bring entries of a matrix into row order, a block at a time.

    Parameters
    ----------
    rows, columns, values
        Row number, column number and value of each entry, (n_entries,); they may lie on disk.
    n_rows
        Number of rows; row numbers are below it.
    block_entries
        How many entries may be in memory at once.

    Returns
    -------
    RowOrdered
        Row pointers, column numbers and values; the last two are those that were given where the entries
        stand in row order already.
    """
    counts = np.zeros(n_rows, np.int64)
    is_sorted, last = True, 0
    for start in range(0, len(rows), block_entries):
        block = np.asarray(rows[start : start + block_entries])
        is_sorted = is_sorted and int(block[0]) >= last and bool(np.all(block[1:] >= block[:-1]))
        last = int(block[-1])
        counts += np.bincount(block, minlength=n_rows)
    pointers = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    if is_sorted:
        return pointers, columns, values
    turned_columns = scratch_array((len(rows),), np.int32)
    turned_values = scratch_array((len(rows),), values.dtype)
    next_free = pointers[:-1].copy()
    for start in range(0, len(rows), block_entries):
        part = slice(start, start + block_entries)
        order = np.argsort(rows[part], kind="stable")
        block = np.asarray(rows[part])[order]
        per_row = np.bincount(block, minlength=n_rows)
        within = np.arange(len(block)) - np.repeat(np.cumsum(per_row) - per_row, per_row)
        target = next_free[block] + within
        turned_columns[target] = columns[part][order]
        turned_values[target] = values[part][order]
        next_free += per_row
    return pointers, turned_columns, turned_values
