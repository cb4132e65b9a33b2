"""Sizes of forward passes: small ones answer one condition faster, large ones compute more at once."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence


def rows_of_pass(count: int, sizes: Sequence[int]) -> int:
    """Return the smallest of the rising `sizes` that holds `count` rows, else the largest.

    More rows than that are split into passes of the largest size.
    """
    return sizes[min(bisect_left(sizes, count), len(sizes) - 1)]
