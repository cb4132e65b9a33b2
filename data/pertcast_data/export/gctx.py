"""A GCTX 1.0 file (HDF5): the matrix samples x genes, genes under ROW and samples under COL."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast_data.export.content import (
    BlockTable,
    ColumnFacts,
    ExportContent,
    dense,
    store_content,
    survey_column,
)
from pertcast_data.export.rows import ExportRows
from pertcast_data.progress import ProgressCallback
from pertcast_data.store import ExpressionStore

VERSION: Final = "GCTX1.0"
MISSING: Final = -666


def write_gctx(
    store: ExpressionStore, rows: ExportRows, file: Path, name: str, progress: ProgressCallback
) -> None:
    """Write a store as GCTX, in bounded memory; counts become dense. See `write_gctx_content`."""
    write_gctx_content(store_content(store, rows), file, name, progress)


def write_gctx_content(content: ExportContent, file: Path, name: str, progress: ProgressCallback) -> None:
    """Write profiles as GCTX, block by block.

    Metadata that is missing is written as -666, by CMap's convention; in the matrix missing stays NaN, which
    cmapPy and cmapM read as such. Text is fixed-length (ASCII, or UTF-8 where it has to be), true and false
    are 1 and 0. A column named "id" becomes "id_".
    """
    with h5py.File(file, "w") as root:
        # Bytes, not text: cmapPy writes and reads this attribute so.
        root.attrs["version"] = np.bytes_(VERSION)
        root.attrs["src"] = np.bytes_(name.encode())
        matrix = root.create_dataset("0/DATA/0/matrix", shape=content.shape, dtype=content.dtype)
        for start, values in content.values(progress):
            matrix[start : start + values.shape[0]] = dense(values)
        _write_table(root.create_group("0/META/ROW"), content.var)
        _write_table(root.create_group("0/META/COL"), content.obs)


def _write_table(group: Any, table: BlockTable) -> None:
    for name in table.columns:
        facts = survey_column(table, name)
        written = group.create_dataset(name, shape=(table.n_rows,), dtype=_type_of(facts))
        start = 0
        for series in table.column(name):
            written[start : start + len(series)] = _encoded(series, facts, written.dtype)
            start += len(series)


def _type_of(facts: ColumnFacts) -> np.dtype[Any]:
    if facts.dtype == pl.String:
        length = max(1, facts.longest, len(str(MISSING)) if facts.n_missing else 0)
        text: np.dtype[Any] = h5py.string_dtype("ascii" if facts.is_ascii else "utf-8", length)
        return text
    if facts.dtype.is_float() or (not facts.n_missing and facts.dtype not in (pl.Boolean, pl.Null)):
        number: np.dtype[Any] = pl.Series([], dtype=facts.dtype).to_numpy().dtype
        return number
    return np.dtype(np.int64)


def _encoded(series: pl.Series, facts: ColumnFacts, dtype: np.dtype[Any]) -> NDArray[Any]:
    if facts.dtype == pl.String:
        return np.array([text.encode() for text in series.fill_null(str(MISSING)).to_list()], dtype=dtype)
    if facts.dtype.is_float():
        return series.fill_null(float(MISSING)).to_numpy()
    if np.issubdtype(dtype, np.integer) and not facts.n_missing and facts.dtype != pl.Boolean:
        return series.to_numpy()
    return series.cast(pl.Int64).fill_null(MISSING).to_numpy()
