"""A large table in AnnData's dataframe encoding, written a column and a block of rows at a time.

`frames.write_frame` holds a whole table and its encoding; a screen of a million conditions has no room for
them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import zarr
from numpy.typing import DTypeLike, NDArray

from pertcast_data.errors import SchemaError
from pertcast_data.store.zarr_layout import ONE_THREAD

MOST_CATEGORIES: Final = 1 << 16
"""Text with more distinct values is no categorical, unless values are missing."""

CHUNK_ROWS: Final = 1 << 16
_VERSION: Final = {"encoding-version": "0.2.0"}
_ARRAY: Final = {"encoding-type": "array", **_VERSION}
_TEXTS: Final = {"encoding-type": "string-array", **_VERSION}

ReadColumn = Callable[[str], Iterator[pl.Series]]
"""Yields the blocks of a column, in the order of the rows."""


def write_frame_blocks(
    root: Path, key: str, schema: Mapping[str, pl.DataType], n_rows: int, read: ReadColumn, index: str
) -> None:
    """Write a table as AnnData's obs, in place of one that is there.

    Text becomes a categorical where it has at most `MOST_CATEGORIES` distinct values or nulls, floats' null
    NaN, a nullable integer or Boolean AnnData's nullable array: as `frames.read_frame` reads them.

    Parameters
    ----------
    root
        The dataset's folder.
    key
        "obs" or "var".
    schema
        Column -> polars type: text, integers, floats, Booleans.
    n_rows
        Rows of the table.
    read
        Reads a column in blocks; asked up to twice for each.
    index
        The column of unique names.

    Raises
    ------
    SchemaError
        A column has another type.
    """
    shutil.rmtree(root / key, ignore_errors=True)
    with zarr.config.set(dict(ONE_THREAD)):
        group = zarr.open_group(str(root), mode="r+").create_group(
            key,
            attributes={
                "column-order": list(schema),
                "_index": "_index",
                "encoding-type": "dataframe",
                **_VERSION,
            },
        )
        _write_texts(group, "_index", n_rows, read(index))
        for name, dtype in schema.items():
            _write_column(group, name, dtype, n_rows, read)


def _write_column(group: zarr.Group, name: str, dtype: pl.DataType, n_rows: int, read: ReadColumn) -> None:
    if dtype == pl.String:
        categories = _categories(read(name))
        if categories is None:
            _write_texts(group, name, n_rows, read(name))
        else:
            _write_categorical(group, name, n_rows, read(name), categories)
        return
    if not (dtype.is_float() or dtype.is_integer() or dtype == pl.Boolean):
        raise SchemaError(f"Column {name!r} has type {dtype}, which a table of profiles cannot hold.")
    plain = np.dtype(bool) if dtype == pl.Boolean else pl.Series(dtype=dtype).to_numpy().dtype
    if dtype.is_float():
        numbers = (block.fill_null(float("nan")).to_numpy() for block in read(name))
        _write_array(group, name, n_rows, plain, numbers)
    elif any(block.null_count() for block in read(name)):
        kind = "nullable-boolean" if dtype == pl.Boolean else "nullable-integer"
        parts = group.create_group(name, attributes={"encoding-type": kind, "encoding-version": "0.1.0"})
        _write_array(parts, "values", n_rows, plain, (_filled(block) for block in read(name)))
        _write_array(parts, "mask", n_rows, bool, (block.is_null().to_numpy() for block in read(name)))
    else:
        _write_array(group, name, n_rows, plain, (block.to_numpy() for block in read(name)))


def _filled(block: pl.Series) -> NDArray[Any]:
    found: NDArray[Any] = block.fill_null(False if block.dtype == pl.Boolean else 0).to_numpy()
    return found


def _categories(blocks: Iterator[pl.Series]) -> pl.Series | None:
    """Return the sorted distinct texts of a column; None where it is better kept as it is."""
    known: set[str] = set()
    has_nulls = False
    for block in blocks:
        has_nulls |= block.null_count() > 0
        known.update(block.drop_nulls().unique())
        if len(known) > MOST_CATEGORIES and not has_nulls:
            return None
    return pl.Series(sorted(known), dtype=pl.String)


def _write_categorical(
    group: zarr.Group, name: str, n_rows: int, blocks: Iterator[pl.Series], categories: pl.Series
) -> None:
    parts = group.create_group(
        name, attributes={"ordered": False, "encoding-type": "categorical", **_VERSION}
    )
    _write_texts(parts, "categories", len(categories), iter([categories]))
    dtype = np.min_scalar_type(-max(len(categories), 1))
    kind = pl.Enum(categories)
    codes = (
        block.cast(kind).to_physical().cast(pl.Int64).fill_null(-1).to_numpy().astype(dtype)
        if len(categories)
        else np.full(len(block), -1, dtype=dtype)
        for block in blocks
    )
    _write_array(parts, "codes", n_rows, dtype, codes)


def _write_texts(group: zarr.Group, name: str, n_rows: int, blocks: Iterator[pl.Series]) -> None:
    texts = (np.asarray(block.to_list(), dtype=object) for block in blocks)
    _write_array(group, name, n_rows, "string", texts, _TEXTS)


def _write_array(
    group: zarr.Group,
    name: str,
    n_rows: int,
    dtype: DTypeLike | str,
    blocks: Iterator[NDArray[Any]],
    attributes: dict[str, Any] = _ARRAY,
) -> None:
    array = group.create_array(
        name,
        shape=(n_rows,),
        chunks=(max(1, min(CHUNK_ROWS, n_rows)),),
        dtype=dtype,
        attributes=attributes,
    )
    start = 0
    for part in _in_chunks(blocks):
        array[start : start + len(part)] = part
        start += len(part)


def _in_chunks(blocks: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    """Join blocks to whole chunks: a chunk that is written twice is read and compressed twice."""
    waiting: list[NDArray[Any]] = []
    height = 0
    for block in blocks:
        waiting.append(block)
        height += len(block)
        while height >= CHUNK_ROWS:
            joined = np.concatenate(waiting)
            yield joined[:CHUNK_ROWS]
            waiting, height = [joined[CHUNK_ROWS:]], height - CHUNK_ROWS
    if height:
        yield np.concatenate(waiting)
