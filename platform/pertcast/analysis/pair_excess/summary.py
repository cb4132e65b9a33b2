"""What a pair screen says as a whole: how many pairs of each kind, and whether the excess says anything.

Beside the excess stands the length of the sum, which needs no model of interactions: large responses have
large excesses, and a ranking that only says so says nothing about interactions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast.analysis.association import spearman
from pertcast.analysis.epistasis.kinds import ADDITIVE, KINDS
from pertcast.analysis.printing import decimal

SUMMARY_COLUMNS: Final = ("kind", "first_size", "second_size", "additive_size", "excess_size")
"""Columns of `PAIR_SCHEMA` that a summary is made from."""


@dataclass(frozen=True)
class PairScreenSummary:
    """A pair screen in a few numbers.

    Attributes
    ----------
    n_pairs, n_without_excess
        Pairs, and those whose excess is exactly 0.
    counts
        Kind -> pairs, in the order of `KINDS`.
    excess_per_single
        Median of the excess over the larger single's effect; NaN where no pair has one.
    excess_by_sum
        Spearman of excess_size with additive_size: how far the ranking by excess is told by how much the
        singles do. NaN where undefined.
    """

    n_pairs: int
    n_without_excess: int
    counts: Mapping[str, int]
    excess_per_single: float
    excess_by_sum: float

    def sentence(self) -> str:
        """Say the answer in words."""
        if not self.n_pairs:
            return "There are no pairs."
        if self.n_without_excess == self.n_pairs:
            return (
                f"This model predicts no interactions: each of the {self.n_pairs:,} pairs is the sum of its "
                "singles, and nothing ranks one pair before another."
            )
        differing = self.n_pairs - self.counts[ADDITIVE]
        kinds = ", ".join(f"{self.counts[kind]:,} {kind}" for kind in KINDS[1:] if self.counts[kind])
        text = f"{differing:,} of {self.n_pairs:,} pairs differ from the sum of their singles"
        text += f" ({kinds})" if kinds else ""
        return (
            f"{text}. The median excess is {decimal(self.excess_per_single, 2)} of the larger single's "
            "effect. The order by excess goes with the size of the sum alone at Spearman "
            f"{decimal(self.excess_by_sum, 2)}: the nearer to 1, the less it says of interactions."
        )


def summarise_pairs(tables: Iterable[pl.DataFrame]) -> PairScreenSummary:
    """Summarise a pair screen from its tables with `SUMMARY_COLUMNS`, block by block: 16 bytes a pair."""
    counts: Counter[str] = Counter()
    parts: list[NDArray[np.float32]] = [np.empty((0, 4), dtype=np.float32)]
    for table in tables:
        counts.update(table["kind"].to_list())
        parts.append(table.select(SUMMARY_COLUMNS[1:]).to_numpy().astype(np.float32))
    first, second, additive, excess = np.concatenate(parts).T
    single = np.maximum(first, second)
    ratio = excess[single > 0] / single[single > 0]
    return PairScreenSummary(
        n_pairs=len(excess),
        n_without_excess=int((excess == 0).sum()),
        counts={kind: counts.get(kind, 0) for kind in KINDS},
        excess_per_single=float(np.median(ratio)) if len(ratio) else float("nan"),
        excess_by_sum=spearman(excess, additive),
    )
