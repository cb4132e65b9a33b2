"""AnnData's encoding of a table in HDF5, written in blocks of rows.

Text becomes categories where there are few enough of them to be remembered, else an array of texts.
"""

from __future__ import annotations

from typing import Any, Final

import h5py
import numpy as np
import polars as pl

from pertcast_data.export.content import ROW_NAME, BlockTable, ColumnFacts, survey_column

_INDEX: Final = "_index"
_TEXT: Final = h5py.string_dtype("utf-8")


def write_h5ad_table(root: Any, key: str, table: BlockTable) -> None:
    """Write a table as `obs` or `var` of an open h5ad file; its names of rows become the index.

    Missing text is no category, a missing float NaN, a missing integer or Boolean AnnData's nullable array.
    """
    group = root.create_group(key)
    names = [name.replace("/", "_") for name in table.columns[1:]]
    group.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": _INDEX})
    group.attrs.create("column-order", np.array(names, dtype=object), dtype=_TEXT)
    _write_texts(group, _INDEX, table, ROW_NAME)
    for name, column in zip(names, table.columns[1:], strict=True):
        facts = survey_column(table, column)
        if facts.categories is not None:
            _write_categories(group, name, table, column, facts)
        elif facts.dtype == pl.String:
            _write_many_texts(group, name, table, column, facts)
        else:
            _write_numbers(group, name, table, column, facts)


def _write_texts(group: Any, name: str, table: BlockTable, column: str) -> None:
    written = _array(group, name, table, _TEXT, "string-array", "0.2.0")
    for rows, series in _placed(table, column):
        written[rows] = series.fill_null("").to_numpy()


def _write_many_texts(group: Any, name: str, table: BlockTable, column: str, facts: ColumnFacts) -> None:
    if not facts.n_missing:
        _write_texts(group, name, table, column)
        return
    nullable = _typed_group(group, name, "nullable-string-array")
    _write_texts(nullable, "values", table, column)
    _write_mask(nullable, table, column)


def _write_categories(group: Any, name: str, table: BlockTable, column: str, facts: ColumnFacts) -> None:
    categories = list(facts.categories or ())
    written = _typed_group(group, name, "categorical", "0.2.0")
    written.attrs["ordered"] = False
    texts = written.create_dataset("categories", data=np.array(categories, dtype=object), dtype=_TEXT)
    texts.attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
    codes = _array(written, "codes", table, np.min_scalar_type(-max(1, len(categories))))
    for rows, series in _placed(table, column):
        codes[rows] = _codes(series, categories)


def _codes(series: pl.Series, categories: list[str]) -> Any:
    if not categories:
        return np.full(len(series), -1)
    return series.cast(pl.Enum(categories)).to_physical().cast(pl.Int32).fill_null(-1).to_numpy()


def _write_numbers(group: Any, name: str, table: BlockTable, column: str, facts: ColumnFacts) -> None:
    # A column without any value has no type: it is a column of missing numbers.
    dtype = pl.Float64() if facts.dtype == pl.Null else facts.dtype
    is_nullable = bool(facts.n_missing) and not dtype.is_float()
    empty: float | bool = float("nan") if dtype.is_float() else False
    into, key = group, name
    if is_nullable:
        kind = "nullable-boolean" if dtype == pl.Boolean else "nullable-integer"
        into, key = _typed_group(group, name, kind), "values"
        _write_mask(into, table, column)
    written = _array(into, key, table, pl.Series([], dtype=dtype).to_numpy().dtype)
    for rows, series in _placed(table, column):
        filled = series.cast(dtype).fill_null(pl.lit(empty).cast(dtype)) if facts.n_missing else series
        written[rows] = filled.to_numpy()


def _write_mask(group: Any, table: BlockTable, column: str) -> None:
    written = _array(group, "mask", table, np.dtype(np.bool_))
    for rows, series in _placed(table, column):
        written[rows] = series.is_null().to_numpy()


def _array(
    group: Any, name: str, table: BlockTable, dtype: Any, kind: str = "array", version: str = "0.2.0"
) -> Any:
    written = group.create_dataset(name, shape=(table.n_rows,), dtype=dtype)
    written.attrs.update({"encoding-type": kind, "encoding-version": version})
    return written


def _typed_group(group: Any, name: str, kind: str, version: str = "0.1.0") -> Any:
    typed = group.create_group(name)
    typed.attrs.update({"encoding-type": kind, "encoding-version": version})
    return typed


def _placed(table: BlockTable, column: str) -> Any:
    """Yield where each block of a column belongs, and the block."""
    start = 0
    for series in table.column(column):
        yield slice(start, start + len(series)), series
        start += len(series)
