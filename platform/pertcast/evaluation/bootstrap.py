"""Paired bootstrap over held-out perturbations: intervals of means and of differences, p values.

All contenders are resampled together (paired), and all conditions of one perturbation together (doses,
times and contexts of one compound are no independent evidence). Every mean is condition-weighted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertcast.evaluation.held_out import FloatArray, IndexArray

N_DRAWS: Final = 2000
LEVEL: Final = 0.95

MOSTLY: Final = 0.9
"""Means over a smaller share of the conditions are marked: a contender may be silent where it is hard."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over conditions with its interval.

    Attributes
    ----------
    mean
        Mean over the conditions where the value is defined; NaN where there is none.
    low, high
        Bounds of the 95 % percentile interval.
    n_defined
        Number of conditions with a defined value.
    n_undefined
        Number of conditions without.
    p_value
        Two-sided bootstrap p value of "the mean is 0"; only meaningful for differences.
    """

    mean: float
    low: float
    high: float
    n_defined: int
    n_undefined: int
    p_value: float

    @property
    def is_partial(self) -> bool:
        """Whether the mean leaves out more than a tenth of the conditions: it is not one of all of them."""
        return 0 < self.n_defined < MOSTLY * (self.n_defined + self.n_undefined)


def cluster_draws(n_clusters: int, n_draws: int = N_DRAWS, seed: int = 0) -> NDArray[np.int32]:
    """Return (n_draws, n_clusters) how often each cluster is drawn, with replacement, in each draw."""
    generator = np.random.default_rng(seed)
    shares = np.full(n_clusters, 1 / n_clusters)
    return generator.multinomial(n_clusters, shares, size=n_draws).astype(np.int32)


def _cluster_sums(values: FloatArray, index: IndexArray, n_clusters: int) -> tuple[FloatArray, FloatArray]:
    """Return (L, K) sums of the defined values of each cluster, and how many there are."""
    defined = ~np.isnan(values)
    sums, counts = (np.zeros((n_clusters, values.shape[1])) for _ in range(2))
    np.add.at(sums, index, np.where(defined, values, 0.0))
    np.add.at(counts, index, defined)
    return sums, counts


def bootstrap_means(
    values: FloatArray, cluster: IndexArray, n_draws: int = N_DRAWS, seed: int = 0
) -> FloatArray:
    """Return (n_draws, K) resampled means of the K columns of `values`.

    Parameters
    ----------
    values
        (N, K) one value a condition and contender; NaN where undefined, left out of its mean.
    cluster
        (N,) label of the conditions that are drawn together.
    n_draws, seed
        Number of draws and their seed; the same draws serve every column.

    Returns
    -------
    FloatArray
        NaN where a draw holds no defined value of a column.
    """
    labels, index = np.unique(cluster, return_inverse=True)
    sums, counts = _cluster_sums(values, index, len(labels))
    draws = cluster_draws(len(labels), n_draws, seed).astype(np.float64)
    totals, weights = draws @ sums, draws @ counts
    means = np.full(totals.shape, np.nan)
    np.divide(totals, weights, out=means, where=weights > 0)
    return means


def bootstrap_means_over_seeds(
    values: FloatArray, cluster: IndexArray, n_draws: int = N_DRAWS, seed: int = 0
) -> FloatArray:
    """Return (n_draws, K) means of `values` (S, N, K), training seeds and clusters both resampled.

    The two are drawn independently of each other (the "pigeonhole" bootstrap, Owen 2007), which counts what
    scatters by both at once too often: on the wide side. The spread of a handful of seeds is itself known
    poorly, and with one seed, where this is `bootstrap_means`, not at all.
    """
    n_seeds = len(values)
    if n_seeds == 1:
        return bootstrap_means(values[0], cluster, n_draws, seed)
    labels, index = np.unique(cluster, return_inverse=True)
    clusters = cluster_draws(len(labels), n_draws, seed).astype(np.float64)
    trainings = np.random.default_rng((seed, 1)).multinomial(
        n_seeds, np.full(n_seeds, 1 / n_seeds), size=n_draws
    )
    totals, weights = (np.zeros((n_draws, values.shape[2])) for _ in range(2))
    for training, scores in enumerate(values):
        sums, counts = _cluster_sums(scores, index, len(labels))
        drawn = trainings[:, training, None] * clusters
        totals += drawn @ sums
        weights += drawn @ counts
    means = np.full(totals.shape, np.nan)
    np.divide(totals, weights, out=means, where=weights > 0)
    return means


def estimates(
    values: FloatArray, cluster: IndexArray, n_draws: int = N_DRAWS, seed: int = 0
) -> list[Estimate]:
    """Return mean, percentile interval and two-sided p value of each column of `values` (N, K).

    The p value is twice the smaller share of draws on either side of 0, with one draw added to each side
    (never 0); draws exactly at 0 count for both sides.
    """
    means = bootstrap_means(values, cluster, n_draws, seed)
    return [_estimate(column, draws) for column, draws in zip(values.T, means.T, strict=True)]


def estimates_over_seeds(
    values: FloatArray, cluster: IndexArray, n_draws: int = N_DRAWS, seed: int = 0
) -> list[Estimate]:
    """Return the estimate of each of K columns of `values` (S, N, K) of S trainings on the same N conditions.

    Means are over seeds and conditions; intervals and p values allow for the choice of both. A condition
    counts as defined if it is for one of the seeds.
    """
    means = bootstrap_means_over_seeds(values, cluster, n_draws, seed)
    result = []
    for column, draws in zip(np.moveaxis(values, 2, 0), means.T, strict=True):
        defined = ~np.isnan(column)
        by_condition = np.full(column.shape[1], np.nan)
        total = np.where(defined, column, 0.0).sum(axis=0)
        np.divide(total, defined.sum(axis=0), out=by_condition, where=defined.any(axis=0))
        found = _estimate(by_condition, draws)
        mean = float(column[defined].mean()) if defined.any() else float("nan")
        result.append(replace(found, mean=mean))
    return result


def interval(draws: FloatArray) -> tuple[float, float]:
    """Return the bounds of the 95 % percentile interval of draws; NaN without any."""
    known = draws[~np.isnan(draws)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def estimate_of(value: float, draws: FloatArray, n_defined: int, n_undefined: int = 0) -> Estimate:
    """Return a value with the interval and p value of its resampled draws; NaN where the value is."""
    draws = draws[~np.isnan(draws)]
    if np.isnan(value) or not len(draws):
        return Estimate(value, np.nan, np.nan, n_defined, n_undefined, np.nan)
    low, high = interval(draws)
    side = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    p_value = min(1.0, 2 * (side + 1) / (len(draws) + 1))
    return Estimate(value, low, high, n_defined, n_undefined, p_value)


def _estimate(values: FloatArray, draws: FloatArray) -> Estimate:
    defined = values[~np.isnan(values)]
    mean = float(defined.mean()) if len(defined) else float("nan")
    return estimate_of(mean, draws, len(defined), len(values) - len(defined))
