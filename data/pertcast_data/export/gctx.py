"""A store as a GCTX 1.0 file (HDF5): the matrix samples x genes, genes under ROW and samples under COL."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast_data.export.ordering import value_blocks, value_type
from pertcast_data.export.rows import ExportRows
from pertcast_data.progress import ProgressCallback
from pertcast_data.store import ExpressionStore

VERSION: Final = "GCTX1.0"
MISSING: Final = -666


def write_gctx(
    store: ExpressionStore, rows: ExportRows, file: Path, name: str, progress: ProgressCallback
) -> None:
    """Write a store as GCTX, in bounded memory; counts become dense.

    Metadata that is missing is written as -666, by CMap's convention; in the matrix missing stays NaN, which
    cmapPy and cmapM read as such. Text is fixed-length (ASCII, or UTF-8 where it has to be), true and false
    are 1 and 0. A column named "id" becomes "id_".
    """
    with h5py.File(file, "w") as root:
        # Bytes, not text: cmapPy writes and reads this attribute so.
        root.attrs["version"] = np.bytes_(VERSION)
        root.attrs["src"] = np.bytes_(name.encode())
        _write_matrix(root, store, rows, progress)
        _write_table(root.create_group("0/META/ROW"), rows.gene_names, rows.var)
        _write_table(root.create_group("0/META/COL"), rows.row_names, rows.obs)


def _write_matrix(file: Any, store: ExpressionStore, rows: ExportRows, progress: ProgressCallback) -> None:
    reader = store.reader("auto")
    shape = (store.n_rows, store.n_genes)
    matrix = file.create_dataset("0/DATA/0/matrix", shape=shape, dtype=value_type(reader))
    for start, values in value_blocks(store, reader, rows.order, progress):
        dense = values.toarray() if hasattr(values, "toarray") else values
        matrix[start : start + len(dense)] = dense


def _write_table(group: Any, names: list[str], table: pl.DataFrame) -> None:
    _write_text(group, "id", names)
    for series in table:
        name = f"{series.name}_" if series.name == "id" else series.name
        if series.dtype in (pl.String, pl.Enum):
            _write_text(group, name, series.cast(pl.String).fill_null(str(MISSING)).to_list())
        else:
            group.create_dataset(name, data=_numbers(series))


def _write_text(group: Any, name: str, texts: list[str]) -> None:
    encoded = [text.encode() for text in texts]
    length = max(1, *map(len, encoded)) if encoded else 1
    kind = "ascii" if all(text.isascii() for text in encoded) else "utf-8"
    group.create_dataset(name, data=np.array(encoded, dtype=h5py.string_dtype(kind, length)))


def _numbers(series: pl.Series) -> NDArray[Any]:
    if series.dtype.is_float():
        return series.fill_null(float(MISSING)).to_numpy()
    if not series.null_count() and series.dtype != pl.Boolean:
        return series.to_numpy()
    return series.cast(pl.Int64).fill_null(MISSING).to_numpy()
