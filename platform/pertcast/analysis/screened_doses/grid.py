"""Where to start: the best valleys of the sum of squares over a grid of half-maximal doses and slopes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertcast.analysis.dose_response.log_logistic import DECADES_BEYOND, SLOPES
from pertcast.analysis.screened_doses.refine import Problem, saturation_of

_EC50_STEP: Final = 0.1
"""Decades."""
_SLOPE_STEPS: Final = 24
_STARTS: Final = 3
_FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class GridSearch:
    """What M curves look like over E half-maximal doses.

    Attributes
    ----------
    starts
        (M, S, 2) starts (decades above the lowest dose, log slope), the best first; a curve with fewer than S
        valleys repeats its best one.
    decades
        (E,) half-maximal doses tried, in decades above the lowest dose.
    gain
        (M, E) share of the sum of squares about the bottom that the best slope explains; -1 beyond the reach
        of a curve's own doses.
    """

    starts: _FloatArray
    decades: _FloatArray
    gain: NDArray[np.float32]

    def interval(self, least: _FloatArray, best: _FloatArray) -> tuple[_FloatArray, _FloatArray]:
        """Return (M,) lowest and highest decades with a gain of at least `least`, rounded outwards.

        -inf and inf where the interval does not end within the grid. It holds the (M,) `best` decades, and
        the cell of the grid that they are in.
        """
        is_inside = self.gain >= least[:, None]
        cell = np.clip(np.floor((best - self.decades[0]) / _EC50_STEP).astype(np.int64), 0, None)
        is_none = ~is_inside.any(axis=1)
        first = np.where(is_none, cell + 1, is_inside.argmax(axis=1))
        last = is_inside.shape[1] - 1 - is_inside[:, ::-1].argmax(axis=1)
        last = np.where(is_none, cell, last)
        first, last = np.minimum(first, cell + 1), np.maximum(last, cell)
        final = (self.gain >= 0).sum(axis=1) - 1
        low = np.where(first == 0, -np.inf, self.decades[np.maximum(first - 1, 0)])
        high = np.where(last >= final, np.inf, self.decades[np.minimum(last + 1, len(self.decades) - 1)])
        return low, high


def search_grid(problem: Problem) -> GridSearch:
    """Return starts and profiles of all curves."""
    grid = _grid(float(problem.reach.max(initial=0.0)))
    gain = _gains(problem, grid.reshape(-1, 2)).reshape(len(problem.values), *grid.shape[:2])
    # Places beyond the reach of a curve's own doses are none of its places.
    beyond = grid[None, 0, :, 0] > problem.reach[:, None] + DECADES_BEYOND + _EC50_STEP / 2
    gain[np.broadcast_to(beyond[:, None, :], gain.shape)] = -1.0
    peaks = np.where(_is_peak(gain), gain, np.float32(-1.0)).reshape(len(gain), -1)
    everyone = np.arange(len(gain))
    places: list[NDArray[np.intp]] = []
    for _ in range(_STARTS):
        best = peaks.argmax(axis=1)
        is_none = peaks[everyone, best] < 0
        places.append(np.where(is_none, places[0], best) if places else best)
        peaks[everyone, best] = -1.0
    return GridSearch(grid.reshape(-1, 2)[np.stack(places, axis=1)], grid[0, :, 0], gain.max(axis=1))


def _grid(reach: float) -> _FloatArray:
    """Return (H, E, 2) log slopes and decades, from two below the lowest to two above the highest dose."""
    n_steps = int(np.ceil((reach + 2 * DECADES_BEYOND) / _EC50_STEP)) + 1
    # A curve's places do not depend on the curves beside it: the grid only goes further up for some.
    decades = -DECADES_BEYOND + _EC50_STEP * np.arange(n_steps)
    slopes = np.log(np.geomspace(*SLOPES, _SLOPE_STEPS))
    return np.stack(np.broadcast_arrays(decades[None, :], slopes[:, None]), axis=2)


def _gains(problem: Problem, grid: _FloatArray) -> NDArray[np.float32]:
    """Return (M, P) how much of each curve's sum of squares the best curve through a place explains."""
    series = np.concatenate([problem.decades, problem.weight], axis=1)
    distinct, member = np.unique(series, axis=0, return_inverse=True)
    width = problem.decades.shape[1]
    bases = np.stack([_unit_basis(each[:width], each[width:], grid, problem) for each in distinct])
    values = problem.values.astype(np.float32)
    if len(distinct) == 1:
        along = values @ bases[0].T
    else:
        along = np.empty((len(values), len(grid)), dtype=np.float32)
        for number, basis in enumerate(bases):
            rows = np.flatnonzero(member.reshape(-1) == number)
            along[rows] = values[rows] @ basis.T
    gain: NDArray[np.float32] = np.square(along, out=along)
    return gain


def _unit_basis(
    decades: _FloatArray, weight: _FloatArray, grid: _FloatArray, problem: Problem
) -> NDArray[np.float32]:
    """Return (P, D) curves of height 1 through each place of the grid, of length 1."""
    basis = saturation_of(decades[None, :], grid) * weight
    if problem.is_bottom_free:
        basis = (basis - basis.sum(axis=1, keepdims=True) / weight.sum()) * weight
    length = np.sqrt(np.square(basis).sum(axis=1, keepdims=True))
    unit = np.zeros_like(basis)
    np.divide(basis, length, out=unit, where=length > np.sqrt(np.finfo(np.float64).tiny))
    return unit.astype(np.float32)


def _is_peak(gain: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return (M, H, E) whether no neighbour explains more."""
    peak = np.ones(gain.shape, dtype=bool)
    for axis in (1, 2):
        first, last = [slice(None)] * 3, [slice(None)] * 3
        first[axis], last[axis] = slice(None, -1), slice(1, None)
        lower, upper = gain[tuple(first)], gain[tuple(last)]
        peak[tuple(first)] &= lower >= upper
        peak[tuple(last)] &= upper >= lower
    return peak
