"""Text: aligned columns for the terminal, and words as they are compared. Pure standard library."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

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
