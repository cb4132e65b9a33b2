"""The four-parameter log-logistic curve: least squares from many starts, intervals, what is not determined.

The curve is linear in its two levels, so only the half-maximal dose and the slope are searched (variable
projection): on a grid first, then refined from each of its valleys.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from pertcast_data.errors import ConfigError, SchemaError
from scipy.optimize import least_squares
from scipy.stats import f as f_distribution
from scipy.stats import t as t_distribution

from pertcast.analysis.association import LEVEL, FloatArray
from pertcast.analysis.dose_response.fitted import LogLogisticFit, NoiseLevel, State, saturation

SLOPES: Final = (0.3, 5.0)
"""Bounds of the slope: gentler looks like a straight line, steeper like a step between two doses."""
DECADES_BEYOND: Final = 2.0
"""The half-maximal dose is searched so far below the lowest and above the highest dose."""

_EC50_STEPS: Final = 241
_SLOPE_STEPS: Final = 41
_STARTS: Final = 4


def ec50_grid(doses: FloatArray) -> FloatArray:
    """Return log10 of the half-maximal doses that are tried, two decades beyond the doses on either side."""
    decades = np.log10(doses[doses > 0])
    return np.linspace(decades.min() - DECADES_BEYOND, decades.max() + DECADES_BEYOND, _EC50_STEPS)


def slope_grid() -> FloatArray:
    """Return the slopes that are tried, evenly in their logarithm."""
    return np.geomspace(*SLOPES, _SLOPE_STEPS)


def residual_sums(
    doses: FloatArray, responses: FloatArray, slopes: FloatArray, bottom: float | None
) -> FloatArray:
    """Return (H, C, M) least sums of squares of C curves for H slopes and the M half-maximal doses tried.

    Parameters
    ----------
    doses
        (K,).
    responses
        (C, K).
    slopes
        (H,).
    bottom
        Response without the compound; None where it is fitted.
    """
    centred = responses - (responses.mean(axis=1, keepdims=True) if bottom is None else bottom)
    total = np.square(centred).sum(axis=1)
    sums = []
    for slope in slopes:
        basis = saturation(doses[None, :], ec50_grid(doses)[:, None], float(slope))
        if bottom is None:
            basis = basis - basis.mean(axis=1, keepdims=True)
        power = np.maximum(np.square(basis).sum(axis=1), np.finfo(np.float64).tiny)
        sums.append(np.maximum(total[:, None] - np.square(centred @ basis.T) / power, 0.0))
    return np.stack(sums)


def _levels(
    doses: FloatArray, responses: FloatArray, place: FloatArray, slope: float | None, bottom: float | None
) -> tuple[float, float, FloatArray]:
    """Return the best bottom, the best top, and the residuals for (log10 EC50[, log slope])."""
    basis = saturation(doses, float(place[0]), float(np.exp(place[1])) if slope is None else slope)
    if bottom is None:
        design = np.stack([1.0 - basis, basis], axis=1)
        found = np.linalg.lstsq(design, responses, rcond=None)[0]
        return float(found[0]), float(found[1]), design @ found - responses
    power = float(basis @ basis)
    height = float(basis @ (responses - bottom)) / power if power > 0 else 0.0
    return bottom, bottom + height, bottom + height * basis - responses


def _valleys(sums: FloatArray, most: int) -> list[tuple[int, int]]:
    """Return the (slope, EC50) places of the lowest local minima of (H, M) sums, the lowest first."""
    padded = np.pad(sums, 1, constant_values=np.inf)
    shape = sums.shape
    around = [
        padded[1 + i : 1 + i + shape[0], 1 + j : 1 + j + shape[1]]
        for i, j in ((-1, 0), (1, 0), (0, -1), (0, 1))
    ]
    is_low = np.all([sums <= other for other in around], axis=0)
    places = np.argwhere(is_low)
    order = np.argsort(sums[is_low], kind="stable")[:most]
    return [(int(i), int(j)) for i, j in places[order]]


def _search(
    doses: FloatArray,
    responses: FloatArray,
    slope: float | None,
    bottom: float | None,
    sums: FloatArray,
    slopes: FloatArray,
) -> FloatArray:
    """Return (log10 EC50[, log slope]) of the least sum of squares, refined from each valley of the grid."""
    grid = ec50_grid(doses)
    scale = float(np.abs(responses).max()) or 1.0
    bounds = ([grid[0], *([math.log(SLOPES[0])] if slope is None else [])],
              [grid[-1], *([math.log(SLOPES[1])] if slope is None else [])])  # fmt: skip
    found: list[tuple[float, FloatArray]] = []
    for i, j in _valleys(sums, 1 if slope is not None and bottom is not None else _STARTS):
        start = np.array([grid[j], *([math.log(slopes[i])] if slope is None else [])])
        solved = least_squares(
            lambda place: _levels(doses, responses / scale, place, slope, _scaled(bottom, scale))[2],
            np.clip(start, *bounds),
            bounds=bounds,
        )
        found.append((float(solved.cost), solved.x))
    return min(found, key=lambda each: each[0])[1]


def _scaled(bottom: float | None, scale: float) -> float | None:
    return None if bottom is None else bottom / scale


def fit_log_logistic(
    doses: FloatArray,
    responses: FloatArray,
    *,
    slope: float | None = None,
    bottom: float | None = 0.0,
    noise: NoiseLevel | None = None,
    weight: float = 1.0,
) -> LogLogisticFit:
    """Fit a log-logistic curve to responses at any doses.

    Parameters
    ----------
    doses
        (K,) above 0, any unit; a dose may stand several times (replicates). At least three distinct ones.
    responses
        (K,) finite.
    slope
        Hill slope where it is known, for example shared by many curves; None to fit it, which takes four
        distinct doses.
    bottom
        Response without the compound: 0 for responses that are relative to control; None to fit it, which
        takes one more distinct dose.
    noise
        Error of a response; where None it is taken from the residuals if there are more doses than
        parameters, and else the half-maximal dose has no interval.
    weight
        How many independent measurements one response stands for: below 1 for a dense grid of a smooth curve.

    Raises
    ------
    SchemaError
        Doses or responses are not finite, a dose is not above 0, or their numbers differ.
    ConfigError
        There are fewer distinct doses than parameters to fit.
    """
    doses, responses = np.asarray(doses, dtype=np.float64), np.asarray(responses, dtype=np.float64)
    _require_values(doses, responses)
    n_free = 2 + (slope is None) + (bottom is None)
    _require_doses(doses, n_free)
    slopes = slope_grid() if slope is None else np.array([slope])
    sums = residual_sums(doses, responses[None, :], slopes, bottom)[:, 0]
    place = _search(doses, responses, slope, bottom, sums, slopes)
    base, top, residuals = _levels(doses, responses, place, slope, bottom)
    rest = float(residuals @ residuals)
    noise = noise or _own_noise(rest * weight, len(doses) * weight - n_free)
    low, high = _profile_interval(doses, sums.min(axis=0), rest, noise, weight)
    ec50 = float(10.0 ** place[0])
    low, high = min(low, ec50), max(high, ec50)
    flat = _is_flat(responses, bottom, rest, n_free, noise, weight)
    return LogLogisticFit(
        bottom=base,
        top=top,
        ec50=ec50,
        slope=float(np.exp(place[1])) if slope is None else slope,
        low=low,
        high=high,
        state=_state(ec50, (low, high), doses, flat),
        sum_of_squares=rest,
        lowest_dose=float(doses.min()),
        highest_dose=float(doses.max()),
    )


def _require_values(doses: FloatArray, responses: FloatArray) -> None:
    if doses.ndim != 1 or doses.shape != responses.shape:
        raise SchemaError(
            f"{doses.shape} doses and {responses.shape} responses: give one response a dose, both flat."
        )
    if not np.isfinite(doses).all() or (doses <= 0).any():
        wrong = doses[~(np.isfinite(doses) & (doses > 0))][0]
        raise SchemaError(f"A dose of {wrong:g} has no place on a log scale: leave controls out.")
    if not np.isfinite(responses).all():
        wrong = doses[~np.isfinite(responses)][0]
        raise SchemaError(f"The response at dose {wrong:g} is not finite: leave it out.")


def _require_doses(doses: FloatArray, n_free: int) -> None:
    distinct = len(np.unique(doses))
    needed = max(3, n_free + (n_free > 2))
    if distinct < needed:
        raise ConfigError(
            f"{distinct} distinct doses do not determine {n_free} parameters; {needed} are needed. Fix the "
            "slope (for example to one shared by many curves) or the response without compound."
        )


def _own_noise(rest: float, degrees: float) -> NoiseLevel | None:
    return NoiseLevel(rest / degrees, int(degrees)) if degrees >= 1 else None


def _profile_interval(
    doses: FloatArray, sums: FloatArray, rest: float, noise: NoiseLevel | None, weight: float
) -> tuple[float, float]:
    """Return where the least sum of squares exceeds its minimum by variance x t^2; 0, inf where it does not.

    Venables & Ripley 2002, 8.4: profile likelihood with the t quantile of the error's degrees of freedom.
    """
    if noise is None:
        return math.nan, math.nan
    quantile = float(t_distribution.ppf((1 + LEVEL) / 2, noise.degrees))
    excess = weight * (sums - rest) - noise.variance * quantile**2
    grid, inside = ec50_grid(doses), np.flatnonzero(excess <= 0)
    if not len(inside):
        nearest = int(np.argmin(excess))
        inside = np.array([nearest])
    first, last = int(inside[0]), int(inside[-1])
    low = 0.0 if first == 0 else 10.0 ** _crossing(grid, excess, first - 1, first)
    high = math.inf if last == len(grid) - 1 else 10.0 ** _crossing(grid, excess, last + 1, last)
    return float(low), float(high)


def _crossing(grid: FloatArray, excess: FloatArray, outside: int, inside: int) -> float:
    """Return where the excess is 0 between two neighbours of the grid."""
    rise = float(excess[outside] - excess[inside])
    share = 0.0 if rise <= 0 else float(np.clip(-excess[inside] / rise, 0.0, 1.0))
    return float(grid[inside] + share * (grid[outside] - grid[inside]))


def _is_flat(
    responses: FloatArray,
    bottom: float | None,
    rest: float,
    n_free: int,
    noise: NoiseLevel | None,
    weight: float,
) -> bool:
    """Whether no response explains the data as well as the curve does (F test at 5 %)."""
    about = responses.mean() if bottom is None else bottom
    total = float(np.square(responses - about).sum())
    if total <= np.finfo(np.float64).eps * float(np.square(responses).sum()) or total == 0.0:
        return True
    if noise is None or noise.variance <= 0:
        return False
    gained = n_free - (bottom is None)
    ratio = weight * (total - rest) / gained / noise.variance
    return bool(ratio <= f_distribution.ppf(LEVEL, gained, noise.degrees))


def _state(ec50: float, interval: tuple[float, float], doses: FloatArray, is_flat: bool) -> State:
    if is_flat:
        return "flat"
    if ec50 > doses.max():
        return "above"
    if ec50 < doses.min():
        return "below"
    return "open" if interval[0] == 0.0 or math.isinf(interval[1]) else "identified"
