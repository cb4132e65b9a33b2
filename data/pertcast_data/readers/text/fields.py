"""Fields of text matrices: cutting lines, words for "missing", numbers, and columns that become numbers."""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from typing import Final

import polars as pl

MISSING: Final = frozenset({"", "na", "n/a", "nan", "<na>", "null", "none", "-nan", "#n/a"})
"""Lower-case words for "no value"; -666 is one as a number."""

_INTEGER: Final = r"^-?(0|[1-9]\d*)$"
_NUMBER: Final = r"^-?\d+(\.\d+)?([eE][-+]?\d+)?$"


def is_missing(text: str) -> bool:
    """Return whether a field says that there is no value."""
    return text.strip().lower() in MISSING


def is_number(text: str) -> bool:
    """Return whether a field is a number (Python's "1_000" is none)."""
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def split_line(line: bytes, separator: bytes) -> list[bytes]:
    """Return the fields of a line, those in quotes without them; any number of blanks is one separator."""
    if b'"' not in line:
        return line.split() if separator == b" " else line.split(separator)
    if separator == b"\t":
        return [_unquoted(field) for field in line.split(separator)]
    # Latin-1 keeps every byte, so that decoding stays with whoever uses a field.
    text = line.strip() if separator == b" " else line
    reader = csv.reader(
        [text.decode("latin-1")], delimiter=separator.decode(), skipinitialspace=separator == b" "
    )
    try:
        return [field.encode("latin-1") for field in next(reader, [])]
    except csv.Error:
        return line.split(separator)


def _unquoted(field: bytes) -> bytes:
    return field[1:-1] if len(field) > 1 and field[:1] == field[-1:] == b'"' else field


def typed_column(texts: Sequence[str]) -> pl.Series:
    """Return a column as numbers where every value is one ("007" is none), else as text; empty is null."""
    column = pl.Series(texts, dtype=pl.String).str.strip_chars()
    numbers = as_numbers(column, MISSING)
    return column.replace({"": None}) if numbers is None else numbers


def as_numbers(column: pl.Series, missing: Collection[str]) -> pl.Series | None:
    """Return text as whole or decimal numbers, None where a value is neither, or none is filled.

    Parameters
    ----------
    column
        Text without blanks around it.
    missing
        Lower-case words for "no value".
    """
    filled = column.filter(~column.str.to_lowercase().is_in(list(missing)))
    if filled.is_empty():
        return None
    if filled.str.contains(_INTEGER).all() and filled.str.len_chars().max() <= 18:  # type: ignore[operator]
        return column.cast(pl.Int64, strict=False)
    if filled.str.contains(_NUMBER).all() and not filled.str.contains(r"^-?0\d").any():
        return column.cast(pl.Float64, strict=False)
    return None
