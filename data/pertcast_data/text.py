"""Text: aligned columns for the terminal, and words as they are compared. Pure standard library."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

_NOT_WORD: Final = re.compile(r"[^0-9a-z]+")


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as lines with aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def fold(name: str) -> str:
    """Return a column's name as it is compared: "Cell Line" -> "cell_line"."""
    return _NOT_WORD.sub("_", name.strip().lower()).strip("_")


def counted(number: int, noun: str) -> str:
    """Return "1 row" or "2,000 rows"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(items: Iterable[object], most: int = 5) -> str:
    """Return "a, b, c and 12 more"."""
    words = [str(item) for item in items]
    shown = ", ".join(words[:most])
    return f"{shown} and {len(words) - most:,} more" if len(words) > most else shown


def decode(text: Any) -> str:
    """Return text from bytes or str: UTF-8, else Latin-1 (so that byte B5 is the micro sign)."""
    if isinstance(text, str):
        return text
    raw = bytes(text)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
