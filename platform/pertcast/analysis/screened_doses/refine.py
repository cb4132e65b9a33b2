"""From starts to the least sum of squares: Levenberg-Marquardt steps of many curves together, within bounds.

The levels are eliminated at every step (variable projection; Golub and Pereyra 1973, with the Jacobian of
Kaufman 1975), so that a step is one equation of two unknowns a curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertcast.analysis.dose_response.log_logistic import DECADES_BEYOND, SLOPES

_FloatArray = NDArray[np.float64]

_STEPS: Final = 400
"""Nearly all curves are done after thirty; a half near the highest dose lies in a long bent valley."""
_SMALLEST_STEP: Final = 1e-9
_STEEPEST: Final = 300.0
_DAMPING: Final = (1e-3, 1e-12, 1e8)
"""At the start, at least, and where a curve is given up as converged."""
_NO_CURVATURE: Final = 1e-100
"""Of a curve without response; its square is still above 0."""
_LN10: Final = float(np.log(10.0))


@dataclass(frozen=True)
class Evaluated:
    """M curves at one place each: best height, residuals, and how both move with the place.

    Attributes
    ----------
    height, mean_basis
        (M,) top minus bottom; mean of the curve of height 1 over the doses.
    residuals
        (M, D).
    moves
        (M, D, 2) derivative of the fitted curve by decades and log slope, levels following.
    """

    height: _FloatArray
    mean_basis: _FloatArray
    residuals: _FloatArray
    moves: _FloatArray

    @property
    def cost(self) -> _FloatArray:
        """(M,) sum of squares."""
        found: _FloatArray = np.square(self.residuals).sum(axis=1)
        return found


@dataclass(frozen=True)
class Problem:
    """M curves of D doses, in decades above the lowest dose of each.

    Attributes
    ----------
    decades, values, weight
        (M, D) log10 of dose over lowest dose, responses about the bottom (0 at missing doses), 1 or 0 for
        a missing dose.
    reach
        (M,) decades of the highest dose.
    is_bottom_free
        Whether the response without the compound is fitted too.
    """

    decades: _FloatArray
    values: _FloatArray
    weight: _FloatArray
    reach: _FloatArray
    is_bottom_free: bool

    def rows(self, chosen: NDArray[np.int64]) -> Problem:
        """Return some of the curves."""
        return Problem(
            self.decades[chosen],
            self.values[chosen],
            self.weight[chosen],
            self.reach[chosen],
            self.is_bottom_free,
        )

    def bounds(self) -> tuple[_FloatArray, _FloatArray]:
        """Return (M, 2) least and greatest decades and log slopes."""
        low, high = np.empty((len(self.reach), 2)), np.empty((len(self.reach), 2))
        low[:, 0], high[:, 0] = -DECADES_BEYOND, self.reach + DECADES_BEYOND
        low[:, 1], high[:, 1] = np.log(SLOPES)
        return low, high

    def evaluate(self, place: _FloatArray) -> Evaluated:
        """Return the curves with the best levels at (M, 2) places."""
        raw = saturation_of(self.decades, place)
        steepness = raw * (1.0 - raw) * self.weight
        slope = np.exp(place[:, 1:])
        by_decades = -steepness * (_LN10 * slope)
        by_slope = by_decades * (place[:, :1] - self.decades)
        basis = raw * self.weight
        mean = basis.sum(axis=1) / self.weight.sum(axis=1)
        if self.is_bottom_free:
            basis, by_decades, by_slope = (self._centred(each) for each in (basis, by_decades, by_slope))
        power = np.maximum(np.square(basis).sum(axis=1), np.finfo(np.float64).tiny)
        height = (basis * self.values).sum(axis=1) / power
        moves = np.stack([by_decades, by_slope], axis=2)
        along = np.einsum("md,mdk->mk", basis, moves) / power[:, None]
        moves = (moves - basis[:, :, None] * along[:, None, :]) * height[:, None, None]
        return Evaluated(height, mean, self.values - height[:, None] * basis, moves)

    def _centred(self, values: _FloatArray) -> _FloatArray:
        mean = values.sum(axis=1, keepdims=True) / self.weight.sum(axis=1, keepdims=True)
        centred: _FloatArray = (values - mean) * self.weight
        return centred


def saturation_of(decades: _FloatArray, place: _FloatArray) -> _FloatArray:
    """Return (M, D) 1 / (1 + (EC50 / d)^h) for doses and (M, 2) places, both in decades above the lowest."""
    exponent = _LN10 * np.exp(place[:, 1:]) * (place[:, :1] - decades)
    result: _FloatArray = 1.0 / (1.0 + np.exp(np.minimum(exponent, _STEEPEST)))
    return result


def refine(problem: Problem, starts: _FloatArray) -> _FloatArray:
    """Return (M, 2) the best place that any of (M, S, 2) starts leads to."""
    n_curves, n_starts = starts.shape[:2]
    repeated = problem.rows(np.repeat(np.arange(n_curves), n_starts))
    place, cost = _descend(repeated, starts.reshape(-1, 2))
    best = cost.reshape(n_curves, n_starts).argmin(axis=1)
    chosen: _FloatArray = place.reshape(n_curves, n_starts, 2)[np.arange(n_curves), best]
    return chosen


def _descend(problem: Problem, starts: _FloatArray) -> tuple[_FloatArray, _FloatArray]:
    """Return (K, 2) places and (K,) sums of squares after steps that each lower the sum."""
    low, high = problem.bounds()
    place = np.clip(starts, low, high)
    final = place.copy()
    cost = np.empty(len(place))
    active = np.arange(len(place))
    damping = np.full(len(place), _DAMPING[0])
    now = problem.evaluate(place)
    cost[:] = now.cost
    moves, residuals = now.moves, now.residuals
    for _ in range(_STEPS):
        step = _steps(moves, residuals, damping, (place - low, high - place))
        tried = np.clip(place + step, low, high)
        new = problem.evaluate(tried)
        better = new.cost < cost[active]
        moved = np.abs(tried - place).max(axis=1)
        place[better], moves[better], residuals[better] = (
            tried[better],
            new.moves[better],
            new.residuals[better],
        )
        cost[active[better]] = new.cost[better]
        final[active] = place
        damping = np.where(better, np.maximum(damping * 0.1, _DAMPING[1]), damping * 10.0)
        going = (moved > _SMALLEST_STEP) & (damping < _DAMPING[2])
        if not going.any():
            break
        if not going.all():
            kept = np.flatnonzero(going)
            problem, active, damping = problem.rows(kept), active[kept], damping[kept]
            place, moves, residuals, low, high = (each[kept] for each in (place, moves, residuals, low, high))
    return final, cost


def _steps(
    moves: _FloatArray, residuals: _FloatArray, damping: _FloatArray, room: tuple[_FloatArray, _FloatArray]
) -> _FloatArray:
    """Return (K, 2) damped Gauss-Newton steps; a parameter that a bound holds stays where it is."""
    slope = np.einsum("md,mdk->mk", residuals, moves)
    square = np.einsum("mdk,mdl->mkl", moves, moves)
    is_held = ((room[0] <= 0) & (slope < 0)) | ((room[1] <= 0) & (slope > 0))
    slope = np.where(is_held, 0.0, slope)
    first, second = square[:, 0, 0], square[:, 1, 1]
    least = np.maximum(1e-12 * (first + second), _NO_CURVATURE)
    first = first + damping * np.maximum(first, least) + least
    second = second + damping * np.maximum(second, least) + least
    mixed = np.where(is_held.any(axis=1), 0.0, square[:, 0, 1])
    determinant = first * second - mixed**2
    found: _FloatArray = np.stack(
        [
            (second * slope[:, 0] - mixed * slope[:, 1]) / determinant,
            (first * slope[:, 1] - mixed * slope[:, 0]) / determinant,
        ],
        axis=1,
    )
    return np.where(is_held, 0.0, found)
