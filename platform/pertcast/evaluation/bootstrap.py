"""Paired bootstrap over held-out perturbations: intervals of means and of differences, p values.

All contenders are resampled together (paired), and all conditions of one perturbation together (doses,
times and contexts of one compound are no independent evidence). Every mean is condition-weighted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertcast.evaluation.held_out import FloatArray, IndexArray

N_DRAWS: Final = 2000
LEVEL: Final = 0.95


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


def cluster_draws(n_clusters: int, n_draws: int = N_DRAWS, seed: int = 0) -> NDArray[np.int32]:
    """Return (n_draws, n_clusters) how often each cluster is drawn, with replacement, in each draw."""
    generator = np.random.default_rng(seed)
    shares = np.full(n_clusters, 1 / n_clusters)
    return generator.multinomial(n_clusters, shares, size=n_draws).astype(np.int32)


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
    defined = ~np.isnan(values)
    sums, counts = (np.zeros((len(labels), values.shape[1])) for _ in range(2))
    np.add.at(sums, index, np.where(defined, values, 0.0))
    np.add.at(counts, index, defined)
    draws = cluster_draws(len(labels), n_draws, seed).astype(np.float64)
    totals, weights = draws @ sums, draws @ counts
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
    result = []
    for column, draws in zip(values.T, means.T, strict=True):
        defined = column[~np.isnan(column)]
        draws = draws[~np.isnan(draws)]
        counts = (len(defined), len(column) - len(defined))
        if not len(defined):
            result.append(Estimate(np.nan, np.nan, np.nan, *counts, np.nan))
            continue
        low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        side = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
        p_value = min(1.0, 2 * (side + 1) / (len(draws) + 1))
        result.append(Estimate(float(defined.mean()), float(low), float(high), *counts, p_value))
    return result
