"""Energy distance and kernel discrepancy of two sets of wells, resampled without taking distances anew.

Means run over pairs of wells of different conditions: a well is no neighbour of itself, replicates count
on neither side, and two halves of one experiment are at distance 0 on average.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.metrics.distribution import BANDWIDTHS, Points, squared_distances


@dataclass(frozen=True)
class PointSet:
    """Wells of one context.

    Attributes
    ----------
    points
        The n wells, relative to a centre that all sets share.
    condition
        (n,) condition of each.
    weight
        (D, n) how often each counts.
    """

    points: Points
    condition: IndexArray
    weight: FloatArray


@dataclass(frozen=True)
class Reference:
    """The wells that others are compared with, and what is taken of them once.

    Attributes
    ----------
    wells
        The wells.
    squared
        (m, m) squared distances among them.
    scale
        Median squared distance of two wells of different conditions; NaN where there are none.
    """

    wells: PointSet
    squared: FloatArray
    scale: float

    @classmethod
    def of(cls, wells: PointSet) -> Reference:
        """Take the distances among wells."""
        squared = squared_distances(wells.points, wells.points)
        apart = squared[wells.condition[:, None] != wells.condition]
        return cls(wells, squared, float(np.median(apart)) if len(apart) else float("nan"))


def _pair_means(values: FloatArray, first: PointSet, second: PointSet) -> FloatArray:
    """Return (D,) weighted means of (n, m) values over pairs of different conditions; NaN without any."""
    apart = (first.condition[:, None] != second.condition).astype(np.float64)
    total = ((first.weight @ (values * apart)) * second.weight).sum(axis=1)
    count = ((first.weight @ apart) * second.weight).sum(axis=1)
    found = np.full(len(total), np.nan)
    np.divide(total, count, out=found, where=count > 0)
    return found


def _kernel(squared: FloatArray, scale: float) -> FloatArray:
    """Return the mean over `BANDWIDTHS` b of exp(-d^2 / (2 b scale)), elementwise."""
    total = np.zeros_like(squared)
    for width in BANDWIDTHS:
        total += np.exp(squared / (-2.0 * width * scale))
    mean: FloatArray = total / len(BANDWIDTHS)
    return mean


def distances(wells: PointSet, reference: Reference) -> tuple[FloatArray, FloatArray]:
    """Return (D,) energy distances and (D,) kernel discrepancies to the reference wells.

    2 mean |x - y| - mean |x - x'| - mean |y - y'| (Székely and Rizzo 2013) and mean k(x, x') + mean k(y, y')
    - 2 mean k(x, y) (Gretton et al. 2012, kernels as for cells), each over pairs of different conditions, so
    that both are unbiased and may fall below 0. NaN for draws without such pairs.
    """
    other = reference.wells
    between = squared_distances(wells.points, other.points)
    within = squared_distances(wells.points, wells.points)
    sides = ((between, wells, other), (within, wells, wells), (reference.squared, other, other))
    cross, own, theirs = (_pair_means(np.sqrt(values), *pair) for values, *pair in sides)
    energy = 2.0 * cross - own - theirs
    if not reference.scale > 0:
        return energy, np.full(len(energy), np.nan)
    cross, own, theirs = (_pair_means(_kernel(values, reference.scale), *pair) for values, *pair in sides)
    return energy, own + theirs - 2.0 * cross
