"""What a pair screen says as a whole: how large its excess is beside the singles, kinds, the largest pairs.

Beside the excess stands the length of the sum, which needs no model of interactions: large responses have
large excesses, and a ranking that only says so says nothing about interactions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast.analysis.association import plain_number, spearman
from pertcast.analysis.epistasis.kinds import ADDITIVE, KINDS, SMALLEST_EXCESS
from pertcast.analysis.pair_excess.excess import PAIR_SCHEMA, rank_pairs
from pertcast.analysis.printing import MISSING, decimal, percent, sentence_lines, table_lines

LARGEST_PAIRS: Final = 10
_QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_SIZES: Final = ("first_size", "second_size", "additive_size", "excess_size")
_DIGITS: Final = 3

Quantiles = tuple[float, ...]


@dataclass(frozen=True)
class PairScreenSummary:
    """A pair screen in a few numbers.

    Attributes
    ----------
    n_pairs, n_without_excess
        Pairs, and those whose excess is exactly 0.
    counts
        Kind -> pairs, in the order of `KINDS`.
    levels
        Quantiles that follow: 0.05 to 1.
    excess_size, single_size, additive_size
        Quantiles of the excess, of the larger of a pair's singles, and of their sum; root mean squares over
        genes in the response's unit. Empty without pairs.
    excess_per_single
        Quantiles of the excess over the larger single, of pairs that have one.
    excess_by_sum
        Spearman of excess_size with additive_size: how far the ranking by excess is told by how much the
        singles do. NaN where undefined.
    largest
        The pairs with the largest excess, ranked: rank, identity columns that were there, `PAIR_SCHEMA`.
    """

    n_pairs: int
    n_without_excess: int
    counts: Mapping[str, int]
    levels: Quantiles
    excess_size: Quantiles
    single_size: Quantiles
    additive_size: Quantiles
    excess_per_single: Quantiles
    excess_by_sum: float
    largest: pl.DataFrame

    @property
    def has_interactions(self) -> bool:
        """Whether any pair differs from the sum of its singles beyond rounding."""
        return self.n_without_excess < self.n_pairs

    def sentence(self) -> str:
        """Say the answer in words."""
        if not self.n_pairs:
            return "There are no pairs."
        if not self.has_interactions:
            return (
                f"This model predicts no interactions: each of the {self.n_pairs:,} pairs is the sum of its "
                "singles, and nothing ranks one pair before another."
            )
        differing = self.n_pairs - self.counts[ADDITIVE]
        kinds = ", ".join(f"{self.counts[kind]:,} {kind}" for kind in KINDS[1:] if self.counts[kind])
        text = f"{differing:,} of {self.n_pairs:,} pairs differ from the sum of their singles"
        text += f" ({kinds})" if kinds else ""
        return f"{text}. {self._baseline()}"

    def _baseline(self) -> str:
        middle = self.levels.index(0.5)
        ratio = self.excess_per_single[middle] if self.excess_per_single else float("nan")
        return (
            f"The median excess is {decimal(ratio, 2)} of the larger single's effect. The order by excess "
            f"goes with the size of the sum alone at Spearman {decimal(self.excess_by_sum, 2)}: the nearer "
            "to 1, the less it says of interactions."
        )

    def lines(self) -> list[str]:
        """Return the summary as aligned text."""
        if not self.n_pairs:
            return [self.sentence()]
        titles = ("excess", "larger single", "sum of singles", "excess / larger single")
        values = (self.excess_size, self.single_size, self.additive_size, self.excess_per_single)
        rows = [
            (title, *(decimal(each, _DIGITS) for each in found or (float("nan"),) * len(self.levels)))
            for title, found in zip(titles, values, strict=True)
        ]
        header = ("root mean square", *(f"{level:.0%}" for level in self.levels))
        shares = [
            (kind, f"{self.counts[kind]:,}", percent(self.counts[kind] / self.n_pairs)) for kind in KINDS
        ]
        return [
            *sentence_lines(self.sentence()),
            "",
            *table_lines(header, rows),
            "",
            *table_lines(("kind", "pairs", "share"), shares),
            f"  additive: relative excess below {SMALLEST_EXCESS:g}, unless another bound was asked for",
            *self._largest_lines(),
        ]

    def _largest_lines(self) -> list[str]:
        if not self.largest.height:
            return []
        rows = [
            (
                "+".join(str(row[name]) for name in ("pert_id", "sig_id") if name in row)[:40]
                or f"{row['rank']}",
                str(row.get("cell_iname") or MISSING),
                row["kind"],
                decimal(row["excess_size"], _DIGITS),
                decimal(row["additive_size"], _DIGITS),
                MISSING if row["c"] is None else decimal(row["c"], 2),
            )
            for row in self.largest.iter_rows(named=True)
        ]
        return ["", *table_lines(("largest excess", "cell line", "kind", "excess", "sum", "c"), rows)]

    def to_json(self) -> dict[str, Any]:
        """Return plain values; undefined ones are None."""
        rows = self.largest.to_dicts()
        quantiles = ("excess_size", "single_size", "additive_size", "excess_per_single")
        return {
            "sentence": self.sentence(),
            "n_pairs": self.n_pairs,
            "n_without_excess": self.n_without_excess,
            "counts": dict(self.counts),
            "levels": list(self.levels),
            **{name: [plain_number(each) for each in getattr(self, name)] for name in quantiles},
            "excess_by_sum": plain_number(self.excess_by_sum),
            "largest": [
                {
                    name: plain_number(value) if isinstance(value, float) else value
                    for name, value in row.items()
                }
                for row in rows
            ],
        }


def summarise_pairs(tables: Iterable[pl.DataFrame], n_largest: int = LARGEST_PAIRS) -> PairScreenSummary:
    """Summarise a pair screen from its tables, block by block.

    Sixteen bytes a pair are held, and the largest pairs.

    Parameters
    ----------
    tables
        Tables with `PAIR_SCHEMA`; further columns (sig_id, pert_id, cell_iname) stay with the largest pairs.
    n_largest
        Pairs to show.
    """
    counts: Counter[str] = Counter()
    parts: list[NDArray[np.float32]] = []
    largest: pl.DataFrame | None = None
    for table in tables:
        counts.update(table["kind"].to_list())
        parts.append(table.select(_SIZES).to_numpy().astype(np.float32))
        joined = table if largest is None else pl.concat([largest, table], how="diagonal_relaxed")
        largest = rank_pairs(joined).drop_nulls("rank").drop("rank").head(n_largest)
    sizes = np.concatenate(parts) if parts else np.empty((0, len(_SIZES)), dtype=np.float32)
    first, second, additive, excess = sizes.T
    single = np.maximum(first, second)
    shown = pl.DataFrame(schema=PAIR_SCHEMA) if largest is None else largest
    return PairScreenSummary(
        n_pairs=len(sizes),
        n_without_excess=int((excess == 0).sum()),
        counts={kind: counts.get(kind, 0) for kind in KINDS},
        levels=_QUANTILES,
        excess_size=_quantiles(excess),
        single_size=_quantiles(single),
        additive_size=_quantiles(additive),
        excess_per_single=_quantiles(excess[single > 0] / single[single > 0]),
        excess_by_sum=spearman(excess, additive),
        largest=rank_pairs(shown),
    )


def _quantiles(values: NDArray[np.float32]) -> Quantiles:
    if not len(values):
        return ()
    return tuple(float(each) for each in np.quantile(values.astype(np.float64), _QUANTILES))
