"""Aligned tables and wrapped sentences of analyses, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import wrap
from typing import Final

from pertcast_data.text import aligned

MISSING: Final = "–"
LINE_WIDTH: Final = 110


def decimal(value: float, decimals: int = 3) -> str:
    """Write a number with fixed decimals; a dash where it is not finite."""
    return f"{value:.{decimals}f}" if math.isfinite(value) else MISSING


def percent(share: float) -> str:
    """Write a share as "83%"; a dash where it is not finite."""
    return f"{share:.0%}" if math.isfinite(share) else MISSING


def table_lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Align cells, the first column left, all others right, with a rule below the header."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    cells = [
        [row[0], *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        for row in (header, *rows)
    ]
    first, *others = aligned(cells)
    return [f"  {first}", "  " + "-" * (sum(widths) + 2 * (len(widths) - 1)), *(f"  {o}" for o in others)]


def sentence_lines(text: str, bullet: bool = False) -> list[str]:
    """Wrap a sentence to the terminal's width; a bullet's further lines are indented below its words."""
    if not bullet:
        return wrap(text, LINE_WIDTH)
    return wrap(text, LINE_WIDTH, initial_indent="  - ", subsequent_indent="    ")
