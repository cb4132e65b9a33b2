"""Agreement of predicted with measured sensitivity over pairs, with intervals that resample whole groups.

One draw of groups serves every predictor, so that differences between them are paired.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from pertcast.evaluation.bootstrap import Estimate, cluster_draws, estimate_of
from pertcast.evaluation.held_out import FloatArray, IndexArray

N_DRAWS: Final = 1000
METRICS: Final = ("pearson", "pearson_within", "spearman", "r2", "rmse")
"""pearson_within: after the mean of the pair's line (compounds held out) or compound (lines held out).

Correlations are of what a predictor says beyond the mean of its training pairs: the mean of a fold's training
pairs is low where the fold's own are high, so that saying nothing but it would correlate negatively.
"""

PRIMARY: Final = "pearson"
_FLAT: Final = 1e-9
_RANKED_DIGITS: Final = 9
"""Predictions that differ by rounding alone are equal."""
_DRAWS_A_BLOCK: Final = 50


@dataclass(frozen=True)
class Scored:
    """A predictor's metrics: their values and (n_draws,) resampled values; NaN where undefined."""

    value: Mapping[str, float]
    draws: Mapping[str, FloatArray]

    def estimates(self, n_pairs: int) -> dict[str, Estimate]:
        """Return every metric with its 95 % interval."""
        return {name: estimate_of(self.value[name], self.draws[name], n_pairs) for name in METRICS}

    def minus(self, other: Scored, n_pairs: int) -> dict[str, Estimate]:
        """Return the differences to another predictor, paired; an undefined correlation counts as 0."""
        return {
            name: estimate_of(
                float(
                    _defined(name, np.array(self.value[name])) - _defined(name, np.array(other.value[name]))
                ),
                _defined(name, self.draws[name]) - _defined(name, other.draws[name]),
                n_pairs,
            )
            for name in METRICS
        }


def _defined(name: str, values: FloatArray) -> FloatArray:
    """Return values with 0 for the correlation of a constant prediction; errors stay as they are."""
    return values if name in ("r2", "rmse") else np.nan_to_num(values, nan=0.0)


class Judge:
    """Scores predictors of the same pairs on the same draws of groups.

    Parameters
    ----------
    value
        (N,) measured.
    training_mean, training_pool_mean
        (N,) mean of the training pairs of each pair's fold, and of those of its pool: what correlations take
        away from predictions.
    group
        (N,) what is drawn as a whole: compounds or lines.
    pool
        (N,) whose means `pearson_within` takes away: lines or compounds.
    n_draws, seed
        Of the bootstrap.
    """

    def __init__(
        self,
        value: FloatArray,
        training_mean: FloatArray,
        training_pool_mean: FloatArray,
        group: IndexArray,
        pool: IndexArray,
        n_draws: int = N_DRAWS,
        seed: int = 0,
    ) -> None:
        self._training_mean, self._training_pool_mean = training_mean, training_pool_mean
        _, self._group = np.unique(group, return_inverse=True)
        self._n_groups = int(self._group.max()) + 1
        self._draws = cluster_draws(self._n_groups, n_draws, seed).astype(np.float64)
        _, self._pool = np.unique(pool, return_inverse=True)
        self._value = value
        self._within = self._without_pool_mean(value)
        self._ranks = _Ranks(value)

    def score(self, predicted: FloatArray) -> Scored:
        """Return the metrics of (N,) predictions."""
        every = np.ones((1, self._n_groups))
        draws = self._metrics(predicted, self._draws)
        return Scored(
            {name: float(found[0]) for name, found in self._metrics(predicted, every).items()}, draws
        )

    def _without_pool_mean(self, values: FloatArray) -> FloatArray:
        counts = np.bincount(self._pool)
        return values - (np.bincount(self._pool, values) / counts)[self._pool]

    def _metrics(self, predicted: FloatArray, draws: FloatArray) -> dict[str, FloatArray]:
        beyond = predicted - self._training_mean
        plain = self._correlated(beyond, self._value, draws)
        within = self._correlated(
            self._without_pool_mean(predicted - self._training_pool_mean), self._within, draws
        )
        squared = self._drawn(np.square(predicted - self._value), draws)
        count = self._drawn(np.ones(len(self._value)), draws)
        total = self._spread(self._value, draws, count)
        r2 = np.full(len(draws), np.nan)
        np.divide(squared, total, out=r2, where=total > 0)
        return {
            "pearson": plain,
            "pearson_within": within,
            "spearman": self._spearman(beyond, draws),
            "r2": 1.0 - r2,
            "rmse": np.sqrt(squared / count),
        }

    def _drawn(self, values: FloatArray, draws: FloatArray) -> FloatArray:
        """Return (D,) sums of (N,) values over the drawn groups."""
        sums: FloatArray = draws @ np.bincount(self._group, values, self._n_groups)
        return sums

    def _spread(self, values: FloatArray, draws: FloatArray, count: FloatArray) -> FloatArray:
        centred = values - values.mean()
        return self._drawn(np.square(centred), draws) - np.square(self._drawn(centred, draws)) / count

    def _correlated(self, first: FloatArray, second: FloatArray, draws: FloatArray) -> FloatArray:
        """Return (D,) Pearson correlations; NaN where a side does not vary."""
        count = self._drawn(np.ones(len(first)), draws)
        sides = [side - side.mean() for side in (first, second)]
        shared = self._drawn(sides[0] * sides[1], draws)
        shared -= self._drawn(sides[0], draws) * self._drawn(sides[1], draws) / count
        spreads = [self._spread(side, draws, count) for side in (first, second)]
        least = np.square(_FLAT * float(np.abs(self._value).max(initial=1.0)))
        varies = (spreads[0] > count * least) & (spreads[1] > count * least)
        found = np.full(len(draws), np.nan)
        np.divide(shared, np.sqrt(np.abs(spreads[0] * spreads[1])), out=found, where=varies)
        clipped: FloatArray = np.clip(found, -1.0, 1.0)
        return clipped

    def _spearman(self, predicted: FloatArray, draws: FloatArray) -> FloatArray:
        """Return (D,) rank correlations, ranked anew in every draw."""
        other = _Ranks(np.round(predicted, _RANKED_DIGITS))
        found = np.full(len(draws), np.nan)
        for start in range(0, len(draws), _DRAWS_A_BLOCK):
            block = slice(start, start + _DRAWS_A_BLOCK)
            weight = draws[block][:, self._group]
            found[block] = _weighted_correlation(other.of(weight), self._ranks.of(weight), weight)
        return found


class _Ranks:
    """Mid-ranks of values that each stand for as many equal ones as their weight says."""

    def __init__(self, values: FloatArray) -> None:
        _, self._step = np.unique(values, return_inverse=True)
        self._order = np.argsort(self._step, kind="stable")
        ordered = self._step[self._order]
        self._starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])

    def of(self, weight: FloatArray) -> FloatArray:
        """Return (D, N) ranks for (D, N) weights."""
        at_step = np.add.reduceat(weight[:, self._order], self._starts, axis=1)
        below = np.cumsum(at_step, axis=1) - at_step
        ranks: FloatArray = (below + (at_step + 1.0) / 2.0)[:, self._step]
        return ranks


def _weighted_correlation(first: FloatArray, second: FloatArray, weight: FloatArray) -> FloatArray:
    """Return (D,) Pearson correlations of the rows of two (D, N) matrices; NaN where a row is constant."""
    total = weight.sum(axis=1, keepdims=True)
    sides = [side - (weight * side).sum(axis=1, keepdims=True) / total for side in (first, second)]
    shared = np.einsum("ij,ij,ij->i", weight, sides[0], sides[1])
    spreads = [np.einsum("ij,ij,ij->i", weight, side, side) for side in sides]
    varies = (spreads[0] > _FLAT) & (spreads[1] > _FLAT)
    found = np.full(len(weight), np.nan)
    np.divide(shared, np.sqrt(spreads[0] * spreads[1]), out=found, where=varies)
    return found
