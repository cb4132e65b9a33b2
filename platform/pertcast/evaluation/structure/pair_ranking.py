"""How well a similarity ranks pairs of genes that belong together: ROC area and average precision.

Pairs are not independent (a gene is in many), so intervals resample genes and weigh a pair by both of its
genes' draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertcast.evaluation.bootstrap import Estimate, cluster_draws, interval
from pertcast.evaluation.held_out import FloatArray, IndexArray

MOST_RESAMPLED_PAIRS: Final = 1_000_000
"""Intervals are made from at most this many pairs, drawn evenly; the values themselves from all."""


@dataclass(frozen=True)
class GenePairs:
    """All pairs of P genes, i < j, and which of them belong together.

    Attributes
    ----------
    n_genes
        P.
    first, second
        (M,) the genes of each pair.
    is_together
        (M,) bool.
    """

    n_genes: int
    first: IndexArray
    second: IndexArray
    is_together: NDArray[np.bool_]

    @classmethod
    def of(cls, together: NDArray[np.bool_], comparable: NDArray[np.bool_] | None = None) -> GenePairs:
        """Return the pairs of a symmetric (P, P) matrix; only the `comparable` (P, P) ones where given."""
        first, second = np.triu_indices(len(together), 1)
        if comparable is not None:
            kept = comparable[first, second]
            first, second = first[kept], second[kept]
        return cls(len(together), first, second, together[first, second])

    def scores(self, similarity: FloatArray) -> FloatArray:
        """Return (M,) the pairs' entries of a symmetric (P, P) similarity."""
        values: FloatArray = similarity[self.first, self.second]
        return values

    def thinned(self, most: int, seed: int) -> tuple[GenePairs, IndexArray]:
        """Return at most `most` pairs drawn without replacement, and which they are."""
        count = len(self.first)
        chosen = np.arange(count)
        if count > most:
            chosen = np.sort(np.random.default_rng(seed).choice(count, most, replace=False))
        thin = GenePairs(self.n_genes, self.first[chosen], self.second[chosen], self.is_together[chosen])
        return thin, chosen


class _Ranked:
    """Pairs from the most to the least similar; equal scores form one step."""

    def __init__(self, pairs: GenePairs, scores: FloatArray) -> None:
        order = np.argsort(-scores, kind="stable")
        descending = scores[order]
        self._ends = np.flatnonzero(np.r_[descending[1:] != descending[:-1], True])
        self._first, self._second = pairs.first[order], pairs.second[order]
        self._together = pairs.is_together[order]

    def areas(self, weight: FloatArray) -> tuple[float, float]:
        """Return ROC area and average precision with (P,) gene weights; NaN where a class is empty."""
        weights = weight[self._first] * weight[self._second]
        every = np.cumsum(weights)[self._ends]
        hits = np.cumsum(np.where(self._together, weights, 0.0))[self._ends]
        positive, negative = hits[-1], every[-1] - hits[-1]
        if positive <= 0 or negative <= 0:
            return float("nan"), float("nan")
        gained = np.diff(hits, prepend=0.0)
        misses = every - hits
        passed = misses - 0.5 * np.diff(misses, prepend=0.0)
        precision = np.divide(hits, every, out=np.zeros_like(hits), where=every > 0)
        area = (gained * (negative - passed)).sum() / (positive * negative)
        return float(area), float((gained * precision).sum() / positive)


def rank_pairs(
    pairs: GenePairs, similarity: FloatArray, n_draws: int, seed: int
) -> tuple[Estimate, Estimate]:
    """Return ROC area and average precision of a similarity, with 95 % intervals by resampling genes.

    The ROC area is the probability that a pair that belongs together is more similar than one that does not
    (ties count half). Average precision is the mean over such pairs of the precision among the pairs that
    are at least as similar. A gene drawn twice makes no pair with itself.

    Parameters
    ----------
    pairs
        The pairs, some of them together.
    similarity
        (P, P) symmetric and finite; only its order matters.
    n_draws, seed
        Of the bootstrap.
    """
    return rank_scores(pairs, pairs.scores(similarity), n_draws, seed)


def rank_scores(
    pairs: GenePairs, scores: FloatArray, n_draws: int, seed: int, most: int = MOST_RESAMPLED_PAIRS
) -> tuple[Estimate, Estimate]:
    """Return what `rank_pairs` does, from (M,) scores of the pairs; intervals from `most` pairs at most."""
    values = _Ranked(pairs, scores).areas(np.ones(pairs.n_genes))
    thin, chosen = pairs.thinned(most, seed)
    ranked = _Ranked(thin, scores[chosen])
    draws = np.array(
        [ranked.areas(weight.astype(np.float64)) for weight in cluster_draws(pairs.n_genes, n_draws, seed)]
    )
    found = []
    for value, column in zip(values, draws.T, strict=True):
        found.append(Estimate(value, *interval(column), pairs.n_genes, 0, float("nan")))
    return found[0], found[1]
