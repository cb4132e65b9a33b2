"""How far predicted interactions agree with measured ones, for one contender beside others.

The excess of a contender is its own pair minus its own singles, so that what it gets wrong about the singles
is not taken for an interaction. Against the measured singles it is asked which share of the additive rule's
error it removes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from pertcast.analysis.association import (
    LEVEL,
    FloatArray,
    Interval,
    clustered_mean,
    is_strongest_third,
    pearson,
    plain_numbers,
)
from pertcast.analysis.epistasis.interactions import (
    PairInteractions,
    PairMembers,
    interactions_of_responses,
)
from pertcast.analysis.epistasis.kinds import ADDITIVE, KINDS

N_RESAMPLED: Final = 500
_ROUNDING: Final = 1e-4
"""Relative excess that single precision leaves of nothing."""

_FEWEST_PAIRS: Final = 4
"""Fewer pairs have no strongest third to be found."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class InteractionAgreement:
    """What one contender says of P measured pairs.

    Attributes
    ----------
    title
        The contender.
    correlation, correlation_interacting
        Mean over pairs (and over those that interact) of the correlation over genes of predicted with
        measured excess; undefined for a contender without excess.
    removed
        Share of the additive rule's squared error that is removed: 1 - sum |d - d^|^2 / sum |d - A|^2, with
        the measured singles in A. 0 for the rule itself, below 0 where a prediction is worse than it.
    same_kind
        Share of pairs whose predicted kind is the measured one.
    confusion
        (K, K) counts, measured kinds down, predicted ones across, in the order of `KINDS`.
    roc_area, precision
        Of finding the strongest third of measured interactions by the length of the predicted excess: area
        under the ROC curve, average precision.
    excess, kinds, correlations
        One value a pair: length of the predicted excess, its kind, its correlation with the measured excess.
    c
        (P,) predicted projection on the sum of the predicted singles; NaN where undefined.
    """

    title: str
    correlation: Interval
    correlation_interacting: Interval
    removed: Interval
    same_kind: Interval
    confusion: NDArray[np.int64]
    roc_area: Interval
    precision: Interval
    excess: FloatArray
    kinds: tuple[str, ...]
    correlations: FloatArray
    c: FloatArray

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        intervals = (
            "correlation",
            "correlation_interacting",
            "removed",
            "same_kind",
            "roc_area",
            "precision",
        )
        return {
            "title": self.title,
            **{name: getattr(self, name).to_json() for name in intervals},
            "confusion": self.confusion.tolist(),
            "excess": plain_numbers(self.excess),
            "kinds": list(self.kinds),
            "c": plain_numbers(self.c),
        }


def roc_area(positive: Mask, score: FloatArray) -> float:
    """Return the area under the ROC curve, ties counted half; NaN without both classes."""
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return float("nan")
    ranks = float(rankdata(score)[positive].sum())
    return (ranks - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)


def average_precision(positive: Mask, score: FloatArray) -> float:
    """Return the sum over distinct thresholds of (step of recall) x precision; NaN without both classes."""
    n_positive = int(positive.sum())
    if not n_positive or n_positive == len(positive):
        return float("nan")
    order = np.argsort(-score, kind="stable")
    ordered = score[order]
    found = np.cumsum(positive[order])
    last = np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], True])
    precision = found[last] / (last + 1)
    steps = np.diff(np.r_[0, found[last]]) / n_positive
    return float(steps @ precision)


def over_pairs(
    statistic: Callable[[NDArray[np.int64]], float], n_pairs: int, n_draws: int, seed: int
) -> Interval:
    """Return a statistic of chosen pairs with its percentile interval over resampled pairs."""
    value = statistic(np.arange(n_pairs))
    generator = np.random.default_rng(seed)
    draws = np.array([statistic(generator.integers(n_pairs, size=n_pairs)) for _ in range(n_draws)])
    known = draws[np.isfinite(draws)]
    if not np.isfinite(value) or not len(known):
        return Interval(value, float("nan"), float("nan"), n_pairs)
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high), n_pairs)


def finding_strongest(
    measured: PairInteractions, score: FloatArray, n_draws: int = N_RESAMPLED, seed: int = 0
) -> tuple[Interval, Interval]:
    """Return ROC area and average precision of finding the strongest third by a (P,) score."""
    lengths = measured.table["excess"].to_numpy()
    if len(lengths) < _FEWEST_PAIRS:
        undefined = Interval(float("nan"), float("nan"), float("nan"), len(lengths))
        return undefined, undefined
    positive = is_strongest_third(lengths)
    return (
        over_pairs(lambda rows: roc_area(positive[rows], score[rows]), len(score), n_draws, seed),
        over_pairs(lambda rows: average_precision(positive[rows], score[rows]), len(score), n_draws, seed),
    )


def _gene_correlations(pairs: PairMembers, first: FloatArray, second: FloatArray) -> FloatArray:
    """Return (P,) correlations over the genes that a pair does not perturb."""
    n_genes = first.shape[1]
    kept = [pairs.gene_weights(number, n_genes) > 0 for number in range(len(pairs))]
    return np.array(
        [pearson(one[keep], other[keep]) for one, other, keep in zip(first, second, kept, strict=True)]
    )


def _removed(
    pairs: PairMembers, measured: PairInteractions, responses: FloatArray, n_draws: int, seed: int
) -> Interval:
    """Compare squared errors of the predicted pairs with those of the sum of the measured singles."""
    predicted = responses[pairs.both].astype(np.float64)
    for pair, own in enumerate(pairs.own_genes):
        predicted[pair, own[own >= 0]] = 0.0
    truth = measured.excess.astype(np.float64) + measured.sum_of_singles
    errors = np.square(truth - predicted).sum(axis=1)
    of_rule = np.square(measured.excess, dtype=np.float64).sum(axis=1)

    def statistic(rows: NDArray[np.int64]) -> float:
        total = float(of_rule[rows].sum())
        return 1.0 - float(errors[rows].sum()) / total if total > 0 else float("nan")

    return over_pairs(statistic, len(errors), n_draws, seed)


def clusters_of(pairs: PairMembers) -> list[str]:
    """Return one name a pair of perturbations, the same in every context."""
    return [f"{first}+{second}" for first, second in pairs.table.select("first", "second").iter_rows()]


def interaction_agreement(
    title: str,
    pairs: PairMembers,
    measured: PairInteractions,
    responses: FloatArray,
    *,
    n_draws: int = N_RESAMPLED,
    seed: int = 0,
) -> InteractionAgreement:
    """Set what a contender predicts beside what was measured.

    Parameters
    ----------
    title
        The contender.
    pairs
        P pairs among C conditions.
    measured
        Their measured interactions.
    responses
        (C, G) responses that the contender predicts, of pairs and of singles.
    n_draws, seed
        Of the intervals over pairs.
    """
    predicted = interactions_of_responses(pairs, responses, smallest_excess=measured.smallest_excess)
    is_nothing = predicted.table["relative_excess"].to_numpy() < _ROUNDING
    excess = np.where(is_nothing, 0.0, predicted.table["excess"].to_numpy())
    correlations = _gene_correlations(pairs, predicted.excess, measured.excess)
    correlations[is_nothing] = np.nan
    cluster = np.array(clusters_of(pairs))
    kinds, truth = np.array(predicted.kinds), np.array(measured.kinds)
    interacting = truth != ADDITIVE
    confusion = np.array([[((truth == row) & (kinds == column)).sum() for column in KINDS] for row in KINDS])
    area, precision = finding_strongest(measured, excess, n_draws, seed)
    return InteractionAgreement(
        title=title,
        correlation=clustered_mean(correlations, cluster, n_draws, seed),
        correlation_interacting=clustered_mean(
            correlations[interacting], cluster[interacting], n_draws, seed
        ),
        removed=_removed(pairs, measured, responses, n_draws, seed),
        same_kind=clustered_mean((kinds == truth).astype(np.float64), cluster, n_draws, seed),
        confusion=confusion.astype(np.int64),
        roc_area=area,
        precision=precision,
        excess=excess,
        kinds=tuple(kinds.tolist()),
        correlations=correlations,
        c=predicted.table["c"].cast(float).fill_null(np.nan).to_numpy(),
    )
