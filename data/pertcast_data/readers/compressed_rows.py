"""Rows of a row-compressed matrix whose three arrays lie on disk: any range, a batch of entries at a time.

AnnData's CSR, in HDF5 and Zarr, and the 10x matrices (genes x cells in columns) are all read through here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import sparse

from pertcast_data.errors import FormatError
from pertcast_data.readers.source import entries_per_batch, row_range
from pertcast_data.readers.spill import entry_blocks

_POINTERS_AT_ONCE: Final = 1 << 20
_DAMAGED: Final = "The file is damaged: copy or download it again."


@dataclass(frozen=True, slots=True)
class CompressedRows:
    """The arrays of a row-compressed matrix.

    Attributes
    ----------
    indptr, indices, data
        Row pointers (n_rows + 1,), column numbers and values of the entries: arrays that can be sliced
        (NumPy, HDF5, Zarr). Of the last two only the rows that are asked for are read.
    shape
        Rows and columns.
    where
        File and matrix, for messages.
    """

    indptr: Any
    indices: Any
    data: Any
    shape: tuple[int, int]
    where: str

    def batches(self, rows: int | None, start: int, stop: int | None) -> Iterator[sparse.csr_matrix]:
        """Yield rows start..stop, at most `rows` at a time, indices sorted and duplicates summed.

        Raises
        ------
        FormatError
            Pointers, indices and values do not fit each other or the shape.
        """
        n_rows, _ = self.shape
        self._check_lengths()
        low, high = row_range(n_rows, start, stop)
        for first in range(low, high, _POINTERS_AT_ONCE):
            last = min(first + _POINTERS_AT_ONCE, high)
            pointers = self._pointers(first, last)
            for begin, end in entry_blocks(pointers, entries_per_batch(), most=rows):
                yield self._batch(pointers[begin : end + 1], first + begin)

    def checked_pointers(self) -> npt.NDArray[np.int64]:
        """Return all pointers (n_rows + 1,); raises FormatError where they do not fit the entries."""
        self._check_lengths()
        return self._pointers(0, self.shape[0])

    def _check_lengths(self) -> None:
        sizes = [tuple(int(size) for size in array.shape) for array in (self.indices, self.data)]
        n_rows = self.shape[0]
        if tuple(self.indptr.shape) != (n_rows + 1,) or len(sizes[0]) != 1 or sizes[0] != sizes[1]:
            raise self._misfit(0, n_rows)
        ends = int(self.indptr[0:1][0]), int(self.indptr[n_rows : n_rows + 1][0])
        if ends != (0, sizes[0][0]):
            raise self._misfit(0, n_rows)

    def _pointers(self, first: int, last: int) -> npt.NDArray[np.int64]:
        pointers = np.asarray(self.indptr[first : last + 1]).astype(np.int64)
        total = int(self.indices.shape[0])
        if pointers[0] < 0 or pointers[-1] > total or bool(np.any(np.diff(pointers) < 0)):
            raise self._misfit(first, last)
        return pointers

    def _batch(self, pointers: npt.NDArray[np.int64], first: int) -> sparse.csr_matrix:
        n_columns = self.shape[1]
        low, high = int(pointers[0]), int(pointers[-1])
        columns = as_numbers(self.indices[low:high])
        n_rows = len(pointers) - 1
        if high > low and (columns.max() >= n_columns or columns.min() < 0):
            raise FormatError(
                f"{self.where}: rows {first} to {first + n_rows} name a column beyond the {n_columns} there "
                f"are. {_DAMAGED}"
            )
        batch = sparse.csr_matrix(
            (as_numbers(self.data[low:high]), columns, pointers - low), shape=(n_rows, n_columns)
        )
        batch.sort_indices()
        batch.sum_duplicates()
        return batch

    def _misfit(self, first: int, last: int) -> FormatError:
        return FormatError(
            f"{self.where}: the pointers of rows {first} to {last}, the indices and the values do not fit "
            f"each other. {_DAMAGED}"
        )


def as_numbers(values: Any) -> npt.NDArray[Any]:
    """Return values in the machine's byte order; truth values become 0 and 1, half precision is widened."""
    array = np.asarray(values)
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype == np.float16:
        return array.astype(np.float32)
    return array.astype(array.dtype.newbyteorder("="), copy=False)
