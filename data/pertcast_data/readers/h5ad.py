"""AnnData files: X as a dense array, CSR or CSC (read through a temporary file), obs and var of every age.

Values keep the file's number type; CSR rows come with sorted indices and without duplicates.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import sparse

from pertcast_data.errors import FormatError
from pertcast_data.readers.hdf5 import decode, holds, open_hdf5
from pertcast_data.readers.hdf5_tables import TableParts, read_table, table_length
from pertcast_data.readers.source import (
    ProfileBatch,
    SourceSchema,
    entries_per_batch,
    id_frame,
    rows_per_batch,
)
from pertcast_data.readers.spill import RowOrdered, csc_to_row_order, entry_blocks

_Encoding = Literal["dense", "csr", "csc"]
_EMPTY_INDEX_NAMES = ("index", "_index")


class H5adSource:
    """Profiles of one .h5ad file.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    FormatError
        The file cannot be opened, or X, obs and var do not fit each other.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._turned: RowOrdered | None = None
        with open_hdf5(path) as file:
            if "X" not in file:
                raise FormatError(f"{path}: has no matrix X. Write the file with X filled.")
            matrix = file["X"]
            self._encoding: _Encoding = _encoding(matrix, path)
            self._shape = _shape(matrix)
            self._dtype = str((matrix if isinstance(matrix, h5py.Dataset) else matrix["data"]).dtype)
            lengths = (table_length(file, "obs"), table_length(file, "var"))
        if lengths != self._shape:
            raise FormatError(
                f"{path}: X is {self._shape[0]} x {self._shape[1]}, but obs has {lengths[0]} rows and var "
                f"{lengths[1]}. Write the file again with anndata."
            )

    @staticmethod
    def detects(path: Path) -> bool:
        """Return whether the file is HDF5 with obs and var."""
        return holds(path, "obs", "var")

    def schema(self) -> SourceSchema:
        """Return shape, layout and number type."""
        unread = self._obs_parts.unread
        notes = [f"columns of obs that cannot be read were left out: {', '.join(unread)}"] if unread else []
        if self._encoding == "csc":
            notes.append("X is CSC: brought into row order through a temporary file")
        return SourceSchema(
            path=self.path,
            format="h5ad",
            n_rows=self._shape[0],
            n_genes=self._shape[1],
            layout="dense" if self._encoding == "dense" else "csr",
            dtype=self._dtype,
            notes=tuple(notes),
        )

    def obs(self) -> pl.DataFrame:
        """Return obs; categorical columns as text."""
        return _as_frame(self._obs_parts)

    def var(self) -> pl.DataFrame:
        """Return var; a named index is also a column of that name."""
        with open_hdf5(self.path) as file:
            return _as_frame(read_table(file, "var"))

    @cached_property
    def _obs_parts(self) -> TableParts:
        with open_hdf5(self.path) as file:
            return read_table(file, "obs")

    def batches(self, rows: int | None = None) -> Iterator[ProfileBatch]:
        """Yield X in file order: arrays or CSR matrices of the file's number type."""
        with open_hdf5(self.path) as file:
            matrix = file["X"]
            if self._encoding == "dense":
                yield from _dense_batches(matrix, rows)
                return
            indptr = matrix["indptr"][()].astype(np.int64)
            indices, data = matrix["indices"], matrix["data"]
            self._check_pointers(indptr, indices.shape, data.shape)
            if self._encoding == "csc":
                indptr, indices, data = self._in_row_order(indptr, indices, data)
            yield from self._csr_batches(indptr, indices, data, rows)

    def _check_pointers(self, indptr: npt.NDArray[np.int64], *sizes: tuple[int, ...]) -> None:
        n_lines = self._shape[1 if self._encoding == "csc" else 0]
        rising = len(indptr) == n_lines + 1 and indptr[0] == 0 and bool(np.all(np.diff(indptr) >= 0))
        if not rising or any(size != (int(indptr[-1]),) for size in sizes):
            raise FormatError(
                f"{self.path}: the pointers, indices and values of X do not fit each other. "
                "The file is damaged: copy or download it again."
            )

    def _in_row_order(self, indptr: npt.NDArray[np.int64], indices: Any, data: Any) -> RowOrdered:
        """Return a CSC matrix as CSR on disk; it is turned once for each source."""
        if self._turned is None:
            self._turned = csc_to_row_order(indptr, indices, data, self._shape[0], entries_per_batch())
        return self._turned

    def _csr_batches(
        self, indptr: npt.NDArray[np.int64], indices: Any, data: Any, rows: int | None
    ) -> Iterator[ProfileBatch]:
        n_genes = self._shape[1]
        for first, last in entry_blocks(indptr, entries_per_batch(), most=rows):
            low, high = int(indptr[first]), int(indptr[last])
            columns = np.asarray(indices[low:high])
            if high > low and (columns.max() >= n_genes or columns.min() < 0):
                raise FormatError(
                    f"{self.path}: rows {first} to {last} of X name a gene beyond the {n_genes} of var. "
                    "The file is damaged: copy or download it again."
                )
            batch = sparse.csr_matrix(
                (np.asarray(data[low:high]), columns, (indptr[first : last + 1] - low).astype(np.int64)),
                shape=(last - first, n_genes),
            )
            batch.sort_indices()
            batch.sum_duplicates()
            yield batch


def _encoding(matrix: Any, path: Path) -> _Encoding:
    if isinstance(matrix, h5py.Dataset):
        return "dense"
    declared = decode(matrix.attrs.get("encoding-type", matrix.attrs.get("h5sparse_format", "")))
    if declared.startswith("csr"):
        return "csr"
    if declared.startswith("csc"):
        return "csc"
    raise FormatError(f"{path}: X is stored as {declared or 'an unknown group'}; known: dense, CSR, CSC.")


def _shape(matrix: Any) -> tuple[int, int]:
    shape = matrix.shape if isinstance(matrix, h5py.Dataset) else _sparse_shape(matrix)
    return int(shape[0]), int(shape[1]) if len(shape) > 1 else 1


def _sparse_shape(matrix: Any) -> Any:
    return matrix.attrs["shape"] if "shape" in matrix.attrs else matrix.attrs["h5sparse_shape"]


def _as_frame(parts: TableParts) -> pl.DataFrame:
    columns = dict(parts.columns)
    if parts.index_name not in (*_EMPTY_INDEX_NAMES, *columns):
        columns = {parts.index_name: pl.Series(parts.ids, dtype=pl.String), **columns}
    return id_frame(parts.ids, columns)


def _dense_batches(matrix: Any, rows: int | None) -> Iterator[ProfileBatch]:
    n_rows, n_genes = _shape(matrix)
    step = rows or _aligned(rows_per_batch(n_genes, matrix.dtype.itemsize), matrix.chunks)
    for start in range(0, n_rows, step):
        yield np.asarray(matrix[start : start + step]).reshape(-1, n_genes)


def _aligned(step: int, chunks: tuple[int, ...] | None) -> int:
    if chunks is None or chunks[0] >= step:
        return step
    return step - step % chunks[0]
