"""Aligned tables for a terminal: the first column left, numbers to the right, a dash for undefined."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

MISSING: Final = "–"

PARTIAL: Final = "°"
"""Marks a mean over fewer than nine tenths of the conditions."""


def decimal(value: float, decimals: int = 3) -> str:
    """Write a number with fixed decimals; a dash where it is NaN."""
    return MISSING if math.isnan(value) else f"{value:.{decimals}f}"


def with_interval(mean: float, low: float, high: float) -> str:
    """Write "0.412 [0.400, 0.424]"; a dash where the mean is NaN."""
    return MISSING if math.isnan(mean) else f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], indent: str = "  ") -> list[str]:
    """Align cells for a terminal: the first column left, all others right; a rule below the header."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        cells = [row[0].ljust(widths[0])] + [row[i].rjust(widths[i]) for i in range(1, len(row))]
        return (indent + "  ".join(cells)).rstrip()

    return [line(header), indent + "-" * (sum(widths) + 2 * (len(widths) - 1)), *(line(row) for row in rows)]
