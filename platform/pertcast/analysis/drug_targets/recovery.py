"""How well a contender recovers known targets: AUROC and top-k, with intervals over drugs.

Targets of one drug, and its cell lines, are averaged first: a drug counts once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pertcast.analysis.association import LEVEL, FloatArray, Interval, clustered_mean
from pertcast.analysis.drug_targets.controls import PairScores

TOP_SHARES: Final = (0.01, 0.05, 0.10)
"""A target is recovered where at most this share of the other genes scores above it."""
CURVE_SHARES: Final = tuple(round(0.02 * step, 2) for step in range(51))
"""Shares of the ranking at which the recovery curve is drawn."""


@dataclass(frozen=True)
class Recovery:
    """What a contender recovers.

    Attributes
    ----------
    name, title
        Of the contender.
    is_control
        Whether it knows nothing of the drug's resemblance to genes.
    n_drugs, n_pairs
        Behind the figures; a pair is a drug, a cell line and a target.
    auroc
        Mean over drugs: the chance that a target scores above a gene that is none, ties counted half.
    among
        The same among genes that are targets of some drug of the table: which of them is this drug's?
    pooled
        As `auroc`, over the pairs and sampled genes of all drugs together.
    top
        Share -> mean over drugs of the share of its targets that are recovered.
    difference, difference_among
        AUROC of the result minus this contender's, over the drugs of both; None for the result itself.
    by_drug, among_by_drug
        Drug -> AUROC.
    curve
        Share of targets recovered at each of `CURVE_SHARES`.
    """

    name: str
    title: str
    is_control: bool
    n_drugs: int
    n_pairs: int
    auroc: Interval
    among: Interval
    pooled: Interval
    top: dict[float, Interval]
    difference: Interval | None
    difference_among: Interval | None
    by_drug: dict[str, float]
    among_by_drug: dict[str, float]
    curve: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers, None where undefined."""
        return {
            "name": self.name,
            "title": self.title,
            "is_control": self.is_control,
            "n_drugs": self.n_drugs,
            "n_pairs": self.n_pairs,
            "auroc": self.auroc.to_json(),
            "auroc_among_targets": self.among.to_json(),
            "pooled_auroc": self.pooled.to_json(),
            "top": {f"{share:g}": found.to_json() for share, found in self.top.items()},
            "result_minus_this": self.difference and self.difference.to_json(),
            "result_minus_this_among_targets": self.difference_among and self.difference_among.to_json(),
        }


def mean_by_drug(values: FloatArray, query: NDArray[np.int64], drugs: Sequence[str]) -> dict[str, float]:
    """Return the mean of finite pair values (P,): over a query's targets, then over a drug's queries."""
    known = np.isfinite(values)
    counts = np.bincount(query[known], minlength=len(drugs))
    sums = np.bincount(query[known], values[known].astype(np.float64), len(drugs))
    by_drug: dict[str, list[float]] = {}
    for each in np.flatnonzero(counts).tolist():
        by_drug.setdefault(drugs[each], []).append(float(sums[each] / counts[each]))
    return {drug: float(np.mean(found)) for drug, found in sorted(by_drug.items())}


def recovery_curve(above: FloatArray, query: NDArray[np.int64], drugs: Sequence[str]) -> tuple[float, ...]:
    """Return the share of a drug's targets, mean over drugs, that are within each of `CURVE_SHARES`."""
    known = np.isfinite(above)
    if not known.any():
        return tuple([math.nan] * len(CURVE_SHARES))
    counts = np.bincount(query[known], minlength=len(drugs))
    queries_of = Counter(drugs[each] for each in np.flatnonzero(counts).tolist())
    weight = np.array([1.0 / (counts[each] * queries_of[drugs[each]]) for each in query[known].tolist()])
    order = np.argsort(above[known], kind="stable")
    reached = np.concatenate(([0.0], np.cumsum(weight[order]))) / weight.sum()
    return tuple(reached[np.searchsorted(above[known][order], CURVE_SHARES, side="right")].tolist())


def recovery_of(
    found: PairScores,
    drugs: Sequence[str],
    *,
    is_control: bool,
    against: Recovery | None,
    n_draws: int,
    seed: int,
) -> Recovery:
    """Summarise a contender.

    Parameters
    ----------
    found
        Its scores.
    drugs
        (Q,) drug of each query.
    is_control
        Whether it is a control.
    against
        The result that it is compared with; None for the result itself.
    n_draws, seed
        Of the bootstrap over drugs.
    """
    query = found.pairs.query
    auroc = mean_by_drug(1.0 - found.above, query, drugs)
    tops = {
        share: mean_by_drug(np.where(np.isnan(found.above), np.nan, found.above <= share), query, drugs)
        for share in TOP_SHARES
    }
    among = mean_by_drug(1.0 - found.among, query, drugs)
    gaps = None if against is None else (_gap(against.by_drug, auroc), _gap(against.among_by_drug, among))
    return Recovery(
        name=found.name,
        title=found.title,
        is_control=is_control,
        n_drugs=len(auroc),
        n_pairs=int(np.isfinite(found.above).sum()),
        auroc=_over_drugs(auroc, n_draws, seed),
        among=_over_drugs(among, n_draws, seed),
        pooled=pooled_auroc(found, drugs, n_draws, seed),
        top={share: _over_drugs(values, n_draws, seed) for share, values in tops.items()},
        difference=None if gaps is None else _over_drugs(gaps[0], n_draws, seed),
        difference_among=None if gaps is None else _over_drugs(gaps[1], n_draws, seed),
        by_drug=auroc,
        among_by_drug=among,
        curve=recovery_curve(found.above, query, drugs),
    )


def _gap(result: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    return {drug: result[drug] - value for drug, value in other.items() if drug in result}


def _over_drugs(values: dict[str, float], n_draws: int, seed: int) -> Interval:
    return clustered_mean(np.array(list(values.values()), dtype=np.float64), list(values), n_draws, seed)


def pooled_auroc(found: PairScores, drugs: Sequence[str], n_draws: int, seed: int) -> Interval:
    """Return the AUROC over the pairs and sampled genes of all drugs, with its interval over drugs.

    A draw of drugs weighs the wins of one drug's targets over another's genes by how often both are drawn.
    """
    judged = np.isfinite(found.above)
    score, query = found.score[judged], found.pairs.query[judged]
    names = sorted({drugs[each] for each in query.tolist()})
    if not names:
        return Interval(math.nan, math.nan, math.nan, 0)
    number = {name: index for index, name in enumerate(names)}
    own = np.array([number[drugs[each]] for each in query.tolist()])
    queries_of: list[list[int]] = [[] for _ in names]
    for each in np.unique(query).tolist():
        queries_of[number[drugs[each]]].append(each)
    wins, n_negative = np.zeros((len(names), len(names))), np.zeros(len(names))
    for other, members in enumerate(queries_of):
        values = found.negatives[members].astype(np.float64)
        values = np.sort(values[np.isfinite(values)])
        n_negative[other] = len(values)
        beaten = (np.searchsorted(values, score, "left") + np.searchsorted(values, score, "right")) / 2
        wins[:, other] = np.bincount(own, beaten, len(names))
    n_positive = np.bincount(own, minlength=len(names)).astype(np.float64)
    value = float(wins.sum() / (n_positive.sum() * n_negative.sum())) if n_negative.sum() else math.nan
    if len(names) < 2 or math.isnan(value):
        return Interval(value, math.nan, math.nan, len(score))
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), n_draws)
    weight = drawn.astype(np.float64)
    draws = np.einsum("bi,bi->b", weight @ wins, weight) / ((weight @ n_positive) * (weight @ n_negative))
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high), len(score))
