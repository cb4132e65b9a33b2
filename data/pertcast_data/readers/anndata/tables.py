"""AnnData's row and gene tables, in HDF5 and Zarr, of every age: groups, compound arrays, `__categories`.

A column that cannot be read (nested, two-dimensional) is left out and named, never a reason to fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import polars as pl

from pertcast_data.errors import FormatError
from pertcast_data.readers.hdf5 import decode_array, is_text
from pertcast_data.readers.source import id_frame
from pertcast_data.text import decode

_EMPTY_INDEX_NAMES = ("index", "_index")


@dataclass(frozen=True, slots=True)
class TableParts:
    """A table: the rows' names, the name of their column, the other columns, and what was left out."""

    ids: list[str]
    index_name: str
    columns: dict[str, pl.Series]
    unread: tuple[str, ...] = ()

    def frame(self) -> pl.DataFrame:
        """Return `source_id` and the columns; a named index is also a column of that name."""
        columns = dict(self.columns)
        if self.index_name not in (*_EMPTY_INDEX_NAMES, *columns):
            columns = {self.index_name: pl.Series(self.ids, dtype=pl.String), **columns}
        return id_frame(self.ids, columns)


def is_array(item: Any) -> bool:
    """Return whether something in a file is an array that holds something (no group, no null)."""
    return getattr(item, "shape", None) is not None


def read_table(root: Any, name: str, path: Path) -> TableParts:
    """Read a table of an AnnData file.

    Parameters
    ----------
    root
        An open h5py file or Zarr group.
    name
        "obs", "var" or a path inside the file.
    path
        The file, for messages.

    Raises
    ------
    FormatError
        The table is absent or has no index.
    """
    item = _table(root, name, path)
    return _read_compound(root, item) if is_array(item) else _read_group(root, item, path)


def table_length(root: Any, name: str, path: Path) -> int:
    """Return the number of rows of a table; raises FormatError as `read_table` does."""
    return int(index_array(root, name, path).shape[0])


def index_array(root: Any, name: str, path: Path) -> Any:
    """Return the array with the names of a table's rows; raises FormatError as `read_table` does."""
    item = _table(root, name, path)
    if is_array(item):
        return item
    index = item[_index_key(item, path)]
    while not is_array(index):
        index = index["values" if "values" in index else "codes"]
    return index


def numeric_series(values: npt.NDArray[Any]) -> pl.Series:
    """Return numbers as a series of a type Polars has (float16 and foreign byte orders are widened)."""
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    return pl.Series(np.ascontiguousarray(values.astype(values.dtype.newbyteorder("="), copy=False)))


def decode_field(values: npt.NDArray[Any]) -> list[str]:
    """Return one field of a compound array as names."""
    return decode_array(values) if values.dtype.kind in "SUO" else names_of_numbers(values)


def names_of_numbers(values: npt.NDArray[Any]) -> list[str]:
    """Return numbers as names; whole floats lose their ".0" (5720.0 -> "5720")."""
    if values.dtype.kind == "f" and np.all(np.isfinite(values)) and np.all(values == np.floor(values)):
        values = values.astype(np.int64)
    return [str(item) for item in values.tolist()]


def _table(root: Any, name: str, path: Path) -> Any:
    if name not in root:
        raise FormatError(f"{path}: has no table {name!r}, so it is no whole AnnData file.")
    return root[name]


def _index_key(group: Any, path: Path) -> str:
    declared = group.attrs.get("_index")
    candidates = [decode(declared)] if declared is not None else []
    for key in (*candidates, "_index", "index"):
        if key in group and (is_array(group[key]) or _is_encoded(group[key])):
            return key
    raise FormatError(f"{path}: table {group.name} has no index. Write the file again with anndata.")


def _is_encoded(item: Any) -> bool:
    return ("values" in item and "mask" in item) or ("codes" in item and "categories" in item)


def _read_group(root: Any, group: Any, path: Path) -> TableParts:
    index_key = _index_key(group, path)
    ids = _ids(root, group, index_key)
    columns: dict[str, pl.Series] = {}
    unread: list[str] = []
    for name in _column_names(group):
        if name in (index_key, "__categories"):
            continue
        column = _read_column(root, group, name) if name in group else None
        if column is None or len(column) != len(ids):
            unread.append(name)
        else:
            columns[name] = column
    return TableParts(ids, index_key, columns, tuple(unread))


def _column_names(group: Any) -> list[str]:
    order = group.attrs.get("column-order")
    if order is None:
        return sorted(group)
    return [] if isinstance(order, h5py.Empty) else [decode(key) for key in order]


def _ids(root: Any, group: Any, key: str) -> list[str]:
    item = group[key]
    if is_array(item) and not is_text(item):
        values = item[...]
        return decode_array(values) if values.dtype.kind == "O" else names_of_numbers(values)
    column = _read_column(root, group, key)
    assert column is not None
    return column.cast(pl.String).fill_null("").to_list()


def _read_column(root: Any, group: Any, name: str) -> pl.Series | None:
    item = group[name]
    if not is_array(item):
        return _read_encoded(item)
    if len(item.shape) != 1:
        return None
    categories = _old_categories(root, group, name)
    return _values(item) if categories is None else _from_codes(item[...], _values(categories))


def _read_encoded(item: Any) -> pl.Series | None:
    """Return a categorical or nullable column; None where it is something else."""
    if hasattr(item, "shape"):
        return None
    if "codes" in item and "categories" in item:
        categories = item["categories"]
        values = _values(categories) if is_array(categories) else _read_encoded(categories)
        return None if values is None else _from_codes(item["codes"][...], values)
    if "values" in item and "mask" in item:
        values = _values(item["values"])
        mask = pl.Series(item["mask"][...])
        return values.to_frame("v").select(pl.when(~mask).then(pl.col("v"))).to_series()
    return None


def _old_categories(root: Any, group: Any, name: str) -> Any:
    """Return the categories that anndata 0.7 kept beside the columns, or None for a plain column."""
    reference = group[name].attrs.get("categories")
    if isinstance(reference, h5py.Reference):
        return root[reference]
    if reference is None:
        return None
    key = f"__categories/{name}"
    return group[key] if key in group else root[decode(reference).strip("/")]


def _values(dataset: Any) -> pl.Series:
    values = dataset[...]
    if is_text(dataset) or values.dtype.kind == "O":
        return pl.Series(decode_array(values), dtype=pl.String)
    return numeric_series(values)


def _from_codes(codes: npt.NDArray[Any], categories: pl.Series) -> pl.Series:
    position = pl.Series(codes.astype(np.int64))
    return categories.gather(pl.select(pl.when(position >= 0).then(position)).to_series())


def _read_compound(root: Any, item: Any) -> TableParts:
    table = item[...]
    names = table.dtype.names
    index_key = next((name for name in ("index", "_index") if name in names), names[0])
    columns: dict[str, pl.Series] = {}
    unread: list[str] = []
    for field in names:
        values = table[field]
        categories = f"uns/{field}_categories"
        if field == index_key:
            continue
        if values.ndim != 1:
            unread.append(field)
        elif values.dtype.kind in "iu" and categories in root:
            columns[field] = _from_codes(values, _values(root[categories]))
        elif values.dtype.kind in "SUO":
            columns[field] = pl.Series(decode_array(values), dtype=pl.String)
        else:
            columns[field] = numeric_series(values)
    return TableParts(decode_field(table[index_key]), index_key, columns, tuple(unread))
