"""Correlations with intervals over perturbations: how far generated and measured quantities go together.

All conditions of one perturbation are resampled together: its doses, times and cell lines are no
independent evidence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

FloatArray = NDArray[np.floating[Any]]
Labels = Sequence[str] | NDArray[Any]

N_DRAWS: Final = 2000
LEVEL: Final = 0.95
FEWEST_PAIRS: Final = 3
"""A correlation of two pairs is always 1 or -1: it says nothing."""

_ROUNDING: Final = 1e-9
_JSON_DIGITS: Final = 6


def plain_number(value: float) -> float | None:
    """Return a number for JSON, rounded to six digits behind the point; None where it is not finite."""
    return round(float(value), _JSON_DIGITS) if math.isfinite(value) else None


def plain_numbers(values: FloatArray) -> list[Any]:
    """Return an array of any shape as nested lists for JSON; None where a value is not finite."""
    if values.ndim > 1:
        return [plain_numbers(row) for row in values]
    return [plain_number(value) for value in values]


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its 95 % interval over perturbations.

    Attributes
    ----------
    value
        NaN where undefined.
    low, high
        Percentile bounds; NaN with fewer than two perturbations.
    n
        Number of values (pairs, curves, conditions) behind it.
    """

    value: float
    low: float
    high: float
    n: int

    def words(self, decimals: int = 3) -> str:
        """Write "0.412 [0.400, 0.424]"; a dash where undefined."""
        value, low, high = (f"{each:.{decimals}f}" for each in (self.value, self.low, self.high))
        if math.isnan(self.value):
            return "–"
        return value if math.isnan(self.low) else f"{value} [{low}, {high}]"

    def to_json(self) -> dict[str, Any]:
        """Return the plain numbers, None where undefined."""
        bounds = {name: plain_number(getattr(self, name)) for name in ("value", "low", "high")}
        return {**bounds, "n": self.n}


UNDEFINED: Final = Interval(math.nan, math.nan, math.nan, 0)


def pearson(first: FloatArray, second: FloatArray) -> float:
    """Return the Pearson correlation of two (N,) arrays over the pairs where both are finite.

    NaN with fewer than three pairs and where one of them is constant up to rounding.
    """
    known = np.isfinite(first) & np.isfinite(second)
    if known.sum() < FEWEST_PAIRS:
        return math.nan
    x, y = first[known].astype(np.float64), second[known].astype(np.float64)
    centred = x - x.mean(), y - y.mean()
    sizes = [float(np.sqrt((values**2).sum())) for values in centred]
    scales = [float(np.abs(values).max()) for values in (x, y)]
    if any(size <= _ROUNDING * scale for size, scale in zip(sizes, scales, strict=True)):
        return math.nan
    return float(np.clip((centred[0] @ centred[1]) / (sizes[0] * sizes[1]), -1.0, 1.0))


def spearman(first: FloatArray, second: FloatArray) -> float:
    """Return the rank correlation of two (N,) arrays, ties at their mean rank; NaN as in `pearson`."""
    known = np.isfinite(first) & np.isfinite(second)
    return pearson(rankdata(first[known]), rankdata(second[known]))


def _draws(n_clusters: int, n_draws: int, seed: int) -> FloatArray:
    """Return (n_draws, n_clusters) how often each perturbation is drawn."""
    shares = np.full(n_clusters, 1 / n_clusters)
    drawn = np.random.default_rng(seed).multinomial(n_clusters, shares, size=n_draws)
    return drawn.astype(np.float64)


def _with_bounds(value: float, draws: FloatArray, n: int, n_clusters: int) -> Interval:
    known = draws[np.isfinite(draws)]
    if math.isnan(value) or n_clusters < 2 or not len(known):
        return Interval(value, math.nan, math.nan, n)
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high), n)


def clustered_mean(values: FloatArray, cluster: Labels, n_draws: int = N_DRAWS, seed: int = 0) -> Interval:
    """Return the mean of the finite values of (N,) with its interval over clusters.

    Parameters
    ----------
    values
        NaN where undefined: left out.
    cluster
        The perturbation of each value.
    n_draws, seed
        Of the bootstrap.
    """
    known = np.isfinite(values)
    if not known.any():
        return UNDEFINED
    labels, index = np.unique(np.asarray(cluster)[known], return_inverse=True)
    sums = np.bincount(index, values[known], len(labels))
    counts = np.bincount(index, minlength=len(labels)).astype(np.float64)
    drawn = _draws(len(labels), n_draws, seed)
    means = (drawn @ sums) / (drawn @ counts)
    return _with_bounds(float(values[known].mean()), means, int(known.sum()), len(labels))


def clustered_pearson(
    first: FloatArray, second: FloatArray, cluster: Labels, n_draws: int = N_DRAWS, seed: int = 0
) -> Interval:
    """Return the Pearson correlation of two (N,) arrays with its interval over clusters.

    Every draw is the correlation of the drawn clusters' pairs, from their sums and sums of products.

    Parameters
    ----------
    first, second
        Pairs; those with a value that is not finite are left out.
    cluster
        The perturbation of each pair.
    n_draws, seed
        Of the bootstrap.
    """
    value = pearson(first, second)
    known = np.isfinite(first) & np.isfinite(second)
    if math.isnan(value):
        return Interval(value, math.nan, math.nan, int(known.sum()))
    x, y = (values[known] - values[known].mean() for values in (first, second))
    labels, index = np.unique(np.asarray(cluster)[known], return_inverse=True)
    moments = np.stack(
        [np.bincount(index, each, len(labels)) for each in (np.ones(len(x)), x, y, x * x, y * y, x * y)],
        axis=1,
    )
    n, sx, sy, sxx, syy, sxy = (_draws(len(labels), n_draws, seed) @ moments).T
    spread = (n * sxx - sx**2) * (n * syy - sy**2)
    draws = np.full(n_draws, np.nan)
    np.divide(n * sxy - sx * sy, np.sqrt(np.maximum(spread, 0)), out=draws, where=spread > 0)
    return _with_bounds(value, draws, int(known.sum()), len(labels))


def is_strongest_third(sizes: FloatArray) -> NDArray[np.bool_]:
    """Return (N,) whether an effect size is in the upper third of all N (ties with the bound included)."""
    if not len(sizes):
        return np.zeros(0, dtype=bool)
    chosen: NDArray[np.bool_] = sizes >= np.quantile(sizes, 2 / 3)
    return chosen
