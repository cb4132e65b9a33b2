"""AnnData's row and gene tables in HDF5, of every age: groups, compound arrays, `__categories`.

A column that cannot be read (nested, two-dimensional) is left out and named, never a reason to fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import polars as pl

from pertcast_data.errors import FormatError
from pertcast_data.readers.hdf5 import decode, decode_array, is_text, read_ids


@dataclass(frozen=True, slots=True)
class TableParts:
    """A table: the rows' names, the name of their column, the other columns, and what was left out."""

    ids: list[str]
    index_name: str
    columns: dict[str, pl.Series]
    unread: tuple[str, ...] = ()


def read_table(file: Any, name: str) -> TableParts:
    """Read `obs` or `var` of an h5ad file.

    Parameters
    ----------
    file
        An open h5py file.
    name
        "obs" or "var" (or a path inside the file).

    Raises
    ------
    FormatError
        The table is absent or has no index.
    """
    if name not in file:
        raise FormatError(f"{file.filename}: has no table {name!r}, so it is no whole h5ad file.")
    item = file[name]
    return _read_compound(file, name) if isinstance(item, h5py.Dataset) else _read_group(item)


def table_length(file: Any, name: str) -> int:
    """Return the number of rows of `obs` or `var`; raises FormatError as `read_table` does."""
    if name not in file:
        raise FormatError(f"{file.filename}: has no table {name!r}, so it is no whole h5ad file.")
    item = file[name]
    return int((item if isinstance(item, h5py.Dataset) else item[_index_key(item)]).shape[0])


def _index_key(group: Any) -> str:
    declared = group.attrs.get("_index")
    candidates = [decode(declared)] if declared is not None else []
    for key in (*candidates, "_index", "index"):
        if key in group and isinstance(group[key], h5py.Dataset):
            return key
    raise FormatError(
        f"{group.file.filename}: table {group.name} has no index. Write the file again with anndata."
    )


def _read_group(group: Any) -> TableParts:
    index_key = _index_key(group)
    order = group.attrs.get("column-order")
    names = [decode(key) for key in order] if order is not None else sorted(group)
    columns: dict[str, pl.Series] = {}
    unread: list[str] = []
    for name in names:
        if name in (index_key, "__categories"):
            continue
        column = _read_column(group, name) if name in group else None
        if column is None:
            unread.append(name)
        else:
            columns[name] = column
    return TableParts(read_ids(group[index_key]), index_key, columns, tuple(unread))


def _read_column(group: Any, name: str) -> pl.Series | None:
    item = group[name]
    if isinstance(item, h5py.Group):
        if "codes" in item and "categories" in item:
            return _from_codes(item["codes"][()], _values(item["categories"]))
        if "values" in item and "mask" in item:
            values = _values(item["values"])
            mask = pl.Series(item["mask"][()])
            return values.to_frame("v").select(pl.when(~mask).then(pl.col("v"))).to_series()
        return None
    if item.ndim != 1:
        return None
    reference = item.attrs.get("categories")
    if isinstance(reference, h5py.Reference):
        return _from_codes(item[()], _values(group.file[reference]))
    return _values(item)


def _values(dataset: Any) -> pl.Series:
    values = dataset[()]
    if is_text(dataset) or values.dtype.kind == "O":
        return pl.Series(decode_array(values), dtype=pl.String)
    return numeric_series(values)


def numeric_series(values: npt.NDArray[Any]) -> pl.Series:
    """Return numbers as a series of a type Polars has (float16 and foreign byte orders are widened)."""
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    return pl.Series(np.ascontiguousarray(values.astype(values.dtype.newbyteorder("="), copy=False)))


def _from_codes(codes: npt.NDArray[Any], categories: pl.Series) -> pl.Series:
    position = pl.Series(codes.astype(np.int64))
    return categories.gather(pl.select(pl.when(position >= 0).then(position)).to_series())


def _compound_index(names: tuple[str, ...]) -> str:
    return next((name for name in ("index", "_index") if name in names), names[0])


def decode_field(values: npt.NDArray[Any]) -> list[str]:
    """Return one field of a compound array as names."""
    return decode_array(values) if values.dtype.kind in "SUO" else [str(item) for item in values.tolist()]


def _read_compound(file: Any, name: str) -> TableParts:
    table = file[name][()]
    index_key = _compound_index(table.dtype.names)
    columns: dict[str, pl.Series] = {}
    unread: list[str] = []
    for field in table.dtype.names:
        values = table[field]
        categories = f"uns/{field}_categories"
        if field == index_key:
            continue
        if values.ndim != 1:
            unread.append(field)
        elif categories in file and values.dtype.kind in "iu":
            columns[field] = _from_codes(values, _values(file[categories]))
        elif values.dtype.kind in "SUO":
            columns[field] = pl.Series(decode_array(values), dtype=pl.String)
        else:
            columns[field] = numeric_series(values)
    return TableParts(decode_field(table[index_key]), index_key, columns, tuple(unread))
