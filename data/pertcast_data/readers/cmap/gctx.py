"""GCTX files (HDF5): /0/DATA/0/matrix with samples as rows, metadata under /0/META/ROW and /0/META/COL.

ROW describes genes and COL samples: the names are those of the text format, where genes are the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import polars as pl

from pertcast_data.errors import FormatError
from pertcast_data.readers.anndata.tables import numeric_series
from pertcast_data.readers.dense_rows import dense_batches
from pertcast_data.readers.hdf5 import decode_array, holds, is_text, open_hdf5, read_ids, require_numbers
from pertcast_data.readers.source import (
    ProfileBatch,
    SourceSchema,
    id_frame,
    refuse_choice,
    row_range,
)

_MATRIX = "0/DATA/0/matrix"
_GENES = "0/META/ROW"
_SAMPLES = "0/META/COL"
_MISSING = -666


class GctxSource:
    """Profiles of one .gctx file.

    Parameters
    ----------
    path
        The file.
    matrix
        None: a gctx file holds one matrix.

    Raises
    ------
    FormatError
        The file cannot be opened, has no matrix or ids, or they do not fit each other.
    """

    def __init__(self, path: Path, matrix: str | None = None) -> None:
        refuse_choice(path, matrix, "gctx")
        self.path = path
        with open_hdf5(path) as file:
            for name in (_MATRIX, f"{_GENES}/id", f"{_SAMPLES}/id"):
                if name not in file:
                    raise FormatError(
                        f"{path}: has no {name}, so it is no whole gctx file. Download it again."
                    )
            values = file[_MATRIX]
            require_numbers(values, _MATRIX, path)
            self._shape = tuple(int(size) for size in values.shape)
            self._dtype = str(values.dtype)
            n_samples, n_genes = file[f"{_SAMPLES}/id"].shape[0], file[f"{_GENES}/id"].shape[0]
        if self._shape != (n_samples, n_genes):
            raise FormatError(
                f"{path}: the matrix is {' x '.join(map(str, self._shape))}, but the file names {n_samples} "
                f"samples and {n_genes} genes. Write the file again."
            )

    @staticmethod
    def detects(path: Path) -> bool:
        """Return whether the file is HDF5 with the group /0/META (the matrix may be missing)."""
        return holds(path, "0/META")

    def schema(self) -> SourceSchema:
        """Return shape and number type."""
        return SourceSchema(self.path, "gctx", self._shape[0], self._shape[1], "dense", self._dtype)

    def obs(self) -> pl.DataFrame:
        """Return the samples' metadata (COL)."""
        return self._table(_SAMPLES)

    def var(self) -> pl.DataFrame:
        """Return the genes' metadata (ROW)."""
        return self._table(_GENES)

    def _table(self, name: str) -> pl.DataFrame:
        with open_hdf5(self.path) as file:
            group = file[name]
            ids = read_ids(group["id"])
            columns = {
                key: _series(group[key]) for key in group if key != "id" and _fits(group[key], len(ids))
            }
        return id_frame([text.strip() for text in ids], columns)

    def batches(
        self, rows: int | None = None, start: int = 0, stop: int | None = None
    ) -> Iterator[ProfileBatch]:
        """Yield the matrix, samples as rows, in the file's number type; -666 is NaN."""
        low, high = row_range(self._shape[0], start, stop)
        with open_hdf5(self.path) as file:
            for batch in dense_batches(file[_MATRIX], self._shape[1], rows, low, high):
                yield _missing_as_nan(batch)


def _missing_as_nan(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if values.dtype.kind == "f":
        values[values == _MISSING] = np.nan
    return values


def _fits(item: Any, length: int) -> bool:
    return isinstance(item, h5py.Dataset) and item.shape == (length,)


def _series(dataset: Any) -> pl.Series:
    values = dataset[()]
    if is_text(dataset) or values.dtype.kind == "O":
        return pl.Series([text.strip() for text in decode_array(values)], dtype=pl.String)
    return numeric_series(values)
