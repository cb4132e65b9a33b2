"""The log-logistic curve of many curves at once: the same formula and bounds as for one measured curve.

The curve is linear in its levels, so only half-maximal dose and slope are searched (variable projection):
on a grid that curves with the same dilutions share, then by Levenberg-Marquardt steps from its best valleys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError

from pertcast.analysis.screened_doses.grid import search_grid
from pertcast.analysis.screened_doses.refine import Problem, refine

FloatArray = NDArray[np.float64]

EQUAL_MISFIT: Final = 0.01
"""Share of the largest response that tells two curves apart: what a forecast is not good for anyway."""

_BLOCK_CURVES: Final = 1024
_DECIMALS: Final = 9
"""Dilutions are the same where their decades agree so far."""


@dataclass(frozen=True)
class DoseFits:
    """E(d) = bottom + (top - bottom) / (1 + (ec50 / d)^slope) of M curves.

    Attributes
    ----------
    bottom, top
        (M,) response without the compound, and at endless dose.
    ec50
        (M,) dose half way between the two, in the doses' unit: the best one within two decades of the doses,
        determined by them or not.
    low, high
        (M,) half-maximal doses between which the best curve misses the responses by at most `EQUAL_MISFIT`
        of the largest one more than the best of all, in root mean square; to a tenth of a decade, rounded
        outwards; 0 or infinite where that has no end two decades beyond the doses.
    slope
        (M,) Hill slope, between 0.3 and 5.
    residuals
        (M, D) response minus curve; NaN at missing doses.
    """

    bottom: FloatArray
    top: FloatArray
    ec50: FloatArray
    low: FloatArray
    high: FloatArray
    slope: FloatArray
    residuals: FloatArray

    @property
    def sum_of_squares(self) -> FloatArray:
        """(M,) of the residuals."""
        found: FloatArray = np.square(np.nan_to_num(self.residuals)).sum(axis=1)
        return found


def fit_log_logistic_curves(
    doses: FloatArray, responses: FloatArray, *, bottom: float | None = 0.0
) -> DoseFits:
    """Fit a log-logistic curve to each row by least squares.

    Parameters
    ----------
    doses
        (M, D) above 0; NaN where a curve has fewer than D. A dose may stand several times. With fewer
        distinct doses than parameters the result is one of many equal ones: look at the number of doses.
    responses
        (M, D) finite where there is a dose.
    bottom
        Response without the compound: 0 for responses that are relative to control; None to fit it.

    Raises
    ------
    SchemaError
        Shapes differ, a curve has no dose, a dose is not above 0, or a response is not finite.
    """
    _require_values(doses, responses)
    found = np.empty((len(doses), 6))
    residuals = np.full(doses.shape, np.nan)
    decades = np.log10(doses)
    order = np.lexsort(np.round(decades - np.nanmin(decades, axis=1, initial=np.inf)[:, None], _DECIMALS).T)
    for start in range(0, len(order), _BLOCK_CURVES):
        rows = order[start : start + _BLOCK_CURVES]
        found[rows], residuals[rows] = _fit_block(decades[rows], responses[rows], bottom)
    bottoms, tops, ec50, low, high, slope = found.T
    return DoseFits(bottoms, tops, ec50, low, high, slope, residuals)


def _fit_block(
    decades: FloatArray, responses: FloatArray, bottom: float | None
) -> tuple[FloatArray, FloatArray]:
    """Return (M, 6) bottom, top, EC50, low, high, slope, and (M, D) residuals, of a block of curves."""
    lowest = np.nanmin(decades, axis=1)
    problem, scale = _scaled_problem(decades - lowest[:, None], responses, bottom)
    searched = search_grid(problem)
    place = refine(problem, searched.starts)
    fitted = problem.evaluate(place)
    height = fitted.height * scale
    count = problem.weight.sum(axis=1)
    base = np.full(len(place), bottom or 0.0)
    if bottom is None:
        base = np.where(problem.weight > 0, responses, 0.0).sum(axis=1) / count - height * fitted.mean_basis
    total = np.square(problem.values).sum(axis=1)
    low, high = searched.interval(total - fitted.cost - count * EQUAL_MISFIT**2, place[:, 0])
    ec50, low, high = (10.0 ** (each + lowest) for each in (place[:, 0], low, high))
    residuals = np.where(problem.weight > 0, fitted.residuals * scale[:, None], np.nan)
    return np.stack([base, base + height, ec50, low, high, np.exp(place[:, 1])], axis=1), residuals


def _scaled_problem(
    decades: FloatArray, responses: FloatArray, bottom: float | None
) -> tuple[Problem, FloatArray]:
    """Return the curves with responses about the bottom in units of their largest, and that unit."""
    is_there = np.isfinite(decades)
    weight = is_there.astype(np.float64)
    values = np.where(is_there, responses - (bottom or 0.0), 0.0)
    if bottom is None:
        values = (values - values.sum(axis=1, keepdims=True) / weight.sum(axis=1, keepdims=True)) * weight
    scale = np.abs(values).max(axis=1)
    scale = np.where(scale > 0, scale, 1.0)
    return Problem(
        decades=np.where(is_there, decades, 0.0),
        values=values / scale[:, None],
        weight=weight,
        reach=np.nanmax(decades, axis=1),
        is_bottom_free=bottom is None,
    ), scale


def _require_values(doses: NDArray[Any], responses: NDArray[Any]) -> None:
    if doses.ndim != 2 or doses.shape != responses.shape:
        raise SchemaError(
            f"Doses have shape {doses.shape}, responses {responses.shape}: give (curves, doses) of both."
        )
    is_there = ~np.isnan(doses)
    if len(doses) and not is_there.any(axis=1).all():
        raise SchemaError(f"Curve {np.flatnonzero(~is_there.any(axis=1))[0]} has no dose: leave it out.")
    wrong = is_there & ~((doses > 0) & np.isfinite(doses) & np.isfinite(responses))
    if wrong.any():
        curve, place = np.argwhere(wrong)[0]
        raise SchemaError(
            f"Curve {curve} has response {responses[curve, place]:g} at dose {doses[curve, place]:g}: doses "
            "must be above 0 and responses finite; leave others out as NaN doses."
        )
