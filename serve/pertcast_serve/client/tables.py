"""Tables in and out: rows that a request sends, and answers' rows as Polars tables with fixed types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin

import polars as pl
from pertcast.errors import SchemaError
from pertcast_data.errors import nearest_known, nearest_sentence
from pydantic import BaseModel

Rows = Sequence[Mapping[str, Any]] | pl.DataFrame | Any
"""Rows as dicts, a Polars table, or a pandas table."""

Parsed = TypeVar("Parsed", bound=BaseModel)

_DTYPES: dict[Any, type[pl.DataType]] = {bool: pl.Boolean, int: pl.Int64, float: pl.Float64, str: pl.String}


def sent_rows(rows: Rows, schema: type[BaseModel]) -> list[dict[str, Any]]:
    """Return rows as a request sends them: without what is missing, numbers as Python's.

    Parameters
    ----------
    rows
        Dicts, or a Polars or pandas table. Null, and NaN of a table, is missing.
    schema
        Names the fields that a row may have.

    Raises
    ------
    SchemaError
        A field has another name, or the rows are something else.
    """
    known = schema.model_fields
    found = []
    for number, row in enumerate(_dicts(rows)):
        for name in row:
            if name not in known:
                raise _unknown_field(str(name), number, known, isinstance(rows, Sequence))
        found.append({name: _plain(value) for name, value in row.items() if value is not None})
    return found


def _dicts(rows: Rows) -> Iterable[Mapping[str, Any]]:
    if isinstance(rows, pl.DataFrame):
        return rows.with_columns(pl.selectors.float().fill_nan(None)).to_dicts()
    if type(rows).__module__.startswith("pandas."):
        pandas: Any = rows
        found: list[dict[str, Any]] = pandas.astype(object).where(pandas.notna(), None).to_dict("records")
        return found
    if isinstance(rows, Mapping) or not isinstance(rows, Sequence):
        raise SchemaError(
            f"Rows are a list of dicts or a table of Polars or pandas, not {type(rows).__name__}."
        )
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise SchemaError(f"Row {number} is {row!r:.100}; give a dict of its fields.")
    return rows


def _unknown_field(name: str, row: int, known: Iterable[str], is_list: bool) -> SchemaError:
    names = list(known)
    hint = nearest_sentence(nearest_known(name, names))
    where = f"Row {row} has a field" if is_list else "The table has a column"
    return SchemaError(f"{where} {name!r}, which is none of {', '.join(names)}.{hint} Rename or drop it.")


def _plain(value: Any) -> Any:
    """Return a NumPy scalar as Python's own."""
    return value.item() if hasattr(value, "item") and not hasattr(value, "__len__") else value


def row_table(rows: Sequence[Mapping[str, Any]], schema: type[BaseModel]) -> pl.DataFrame:
    """Return rows of an answer with the columns of their schema, typed also where there are none.

    Columns that only a newer server gives are kept out, so that a program finds the ones it knows.
    """
    columns = {name: _dtype(field.annotation) for name, field in schema.model_fields.items()}
    return pl.DataFrame([{name: row.get(name) for name in columns} for row in rows], schema=columns)


def _dtype(annotation: Any) -> pl.DataType | type[pl.DataType]:
    if get_origin(annotation) is list:
        return pl.List(_dtype(get_args(annotation)[0]))
    if get_origin(annotation) is Literal:
        return pl.String
    for kind in get_args(annotation) or (annotation,):
        if kind is not NoneType:
            return _DTYPES[kind] if kind in _DTYPES else _dtype(kind)
    raise TypeError(f"no column holds {annotation}")


def parsed(schema: type[Parsed], body: Mapping[str, Any]) -> Parsed:
    """Return a body as its schema, without fields that only a newer server gives."""
    return schema.model_validate({name: body[name] for name in schema.model_fields if name in body})
