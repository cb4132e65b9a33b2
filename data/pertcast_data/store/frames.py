"""Polars tables in AnnData's dataframe encoding, and back without losing a null.

Text becomes an unordered categorical where it repeats or has nulls, an Enum an ordered one (its order is
kept), a float's null NaN, a nullable integer or Boolean AnnData's nullable array. What comes back is equal
to `canonical_frame` of what was written.
"""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import zarr
from anndata.io import read_elem, write_elem
from zarr.storage import MemoryStore

from pertcast_data.errors import SchemaError

log = logging.getLogger(__name__)

_TEMPORAL = (pl.Date, pl.Datetime, pl.Duration, pl.Time)
_RESERVED = "_index"


def canonical_frame(frame: pl.DataFrame) -> pl.DataFrame:
    """Return `frame` as it will read back from a store.

    NaN becomes null, Categorical and temporal columns become text, Decimal becomes float; Enum stays. Column
    names lose "/" (a path separator in Zarr). Raises SchemaError for lists, structs, binary and objects.
    """
    columns = [_canonical_series(frame[name]) for name in frame.columns]
    # Zarr takes two names that differ only in case for one.
    times = Counter(series.name.casefold() for series in columns)
    repeated = sorted({series.name for series in columns if times[series.name.casefold()] > 1})
    if repeated:
        raise SchemaError(f"Column names are not unique: {', '.join(repeated)}. Rename them at the source.")
    return pl.DataFrame(columns)


def write_frame(path: Path, key: str, frame: pl.DataFrame, index: Sequence[str]) -> None:
    """Write a canonical frame as AnnData's obs or var, in place of one that is there.

    Parameters
    ----------
    path
        The dataset's folder.
    key
        "obs" or "var".
    frame
        A table from `canonical_frame`.
    index
        Unique names of the rows.
    """
    columns = {series.name: _to_pandas(series) for series in frame}
    table = pd.DataFrame(columns, index=pd.Index(list(index), dtype=object))
    # Encoded in memory first: hundreds of small writes through Zarr take several times as long.
    encoded: dict[str, Any] = {}
    group = zarr.create_group(MemoryStore(encoded), zarr_format=3)
    write_elem(group, key, table, dataset_kwargs={"shards": None})
    shutil.rmtree(path / key, ignore_errors=True)
    for name, buffer in encoded.items():
        if name.startswith(f"{key}/"):
            target = path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(buffer.to_bytes())


def read_frame(group: zarr.Group) -> pl.DataFrame:
    """Read an AnnData dataframe group as a Polars table (without its index)."""
    order = [str(name) for name in group.attrs["column-order"]]  # type: ignore[union-attr]
    return pl.DataFrame([_to_polars(name, read_elem(group[name])) for name in order])


def _canonical_series(series: pl.Series) -> pl.Series:
    name = series.name.replace("/", "_")
    if name == _RESERVED:
        name = "index"
    if name != series.name:
        log.info("column %r is stored as %r", series.name, name)
    dtype = series.dtype
    series = series.rename(name).rechunk()
    if dtype.is_float():
        return series.fill_nan(None)
    if dtype == pl.Categorical or dtype in _TEMPORAL or dtype == pl.Null:
        return series.cast(pl.String)
    if dtype.is_decimal():
        return series.cast(pl.Float64)
    if dtype.is_integer() or dtype in (pl.Boolean, pl.String) or dtype == pl.Enum:
        return series
    raise SchemaError(
        f"Column {series.name!r} has type {dtype}, which a store cannot hold. Make it text or numbers."
    )


def _to_pandas(series: pl.Series) -> Any:
    dtype = series.dtype
    if dtype == pl.Enum:
        return _categorical(series, dtype.categories, ordered=True)  # type: ignore[attr-defined]
    if dtype == pl.String:
        if series.null_count() or series.n_unique() <= len(series) // 2:
            return _categorical(series, series.drop_nulls().unique().sort(), ordered=False)
        return np.asarray(series.to_list(), dtype=object)
    if series.null_count() == 0:
        return series.to_numpy()
    if dtype.is_float():
        return series.fill_null(float("nan")).to_numpy()
    mask = series.is_null().to_numpy()
    if dtype == pl.Boolean:
        return pd.arrays.BooleanArray(series.fill_null(False).to_numpy(writable=True), mask)
    return pd.arrays.IntegerArray(series.fill_null(0).to_numpy(writable=True), mask)


def _categorical(series: pl.Series, categories: pl.Series, *, ordered: bool) -> pd.Categorical:
    names = pd.Index(categories.to_list(), dtype=object)
    if len(names) == 0:
        codes = np.full(len(series), -1, dtype=np.int8)
    else:
        physical = series.cast(pl.Enum(categories)).to_physical().cast(pl.Int32)
        codes = physical.fill_null(-1).to_numpy()
    return pd.Categorical.from_codes(codes, categories=names, ordered=ordered)


def _to_polars(name: str, element: Any) -> pl.Series:
    if isinstance(element, pd.Categorical):
        return _from_categorical(name, element)
    if isinstance(element, np.ndarray) and element.dtype.kind in "OUST":
        return pl.Series(name, [None if value is None else str(value) for value in element], dtype=pl.String)
    if isinstance(element, np.ndarray):
        series = pl.Series(name, element)
        return series.fill_nan(None) if series.dtype.is_float() else series
    series = pl.Series(name, pa.Array.from_pandas(element))
    return series.cast(pl.String) if series.dtype == pl.Categorical else series


def _from_categorical(name: str, element: pd.Categorical) -> pl.Series:
    categories = [str(category) for category in element.categories]
    # A missing value's code is -1: unsigned, it becomes null.
    codes = pl.Series(element.codes).cast(pl.UInt32, strict=False)
    if not categories:
        values = pl.Series(name, [None] * len(element), dtype=pl.String)
    else:
        values = pl.Series(name, categories, dtype=pl.String).gather(codes)
    return values.cast(pl.Enum(categories)) if element.ordered else values
