"""What may be said of the half-maximal dose of each predicted curve: a number, a bound, or why not.

A curve is one (cell line, compound, time). Predictions have no noise: nothing here is a test, a state says
what the shape of a curve determines.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast_data.errors import ConfigError

from pertcast.analysis.screened_doses.batched import DoseFits, fit_log_logistic_curves
from pertcast.analysis.screened_doses.projected import FloatArray, ProjectedCurves, project_curves

IDENTIFIED: Final = "identified"
OPEN: Final = "open"
BELOW: Final = "below"
ABOVE: Final = "above"
FLAT: Final = "flat"
NOT_MONOTONE: Final = "not monotone"
OTHER_SHAPE: Final = "other shape"
TOO_FEW_DOSES: Final = "too few doses"
STATES: Final = (IDENTIFIED, OPEN, ABOVE, BELOW, FLAT, NOT_MONOTONE, OTHER_SHAPE, TOO_FEW_DOSES)
"""The first five as of a measured curve (`LogLogisticFit`)."""

FEWEST_DOSES: Final = 4
"""Distinct doses that top, half-maximal dose and slope take; one more where the bottom is fitted."""
SMALLEST_EFFECT: Final = 0.01
"""Root mean square response, in the response's unit, up to which a curve is flat."""
LARGEST_MISFIT: Final = 0.1
"""Share of the largest response that a curve may fall back by, or a fit miss a response by."""

SCREENED_DOSES_SCHEMA: Final = {
    "n_doses": pl.Int64,
    "lowest_dose": pl.Float64,
    "highest_dose": pl.Float64,
    "state": pl.String,
    "ec50": pl.Float64,
    "ec50_low": pl.Float64,
    "ec50_high": pl.Float64,
    "slope": pl.Float64,
    "bottom": pl.Float64,
    "top": pl.Float64,
    "r2": pl.Float64,
    "largest_residual": pl.Float64,
    "direction_share": pl.Float64,
    "effect_size": pl.Float64,
    "largest_effect_size": pl.Float64,
}


def fit_screened_doses(
    doses: NDArray[np.floating],
    responses: NDArray[np.floating],
    *,
    bottom: float | None = 0.0,
    smallest_effect: float = SMALLEST_EFFECT,
    largest_misfit: float = LARGEST_MISFIT,
) -> pl.DataFrame:
    """Fit E(d) = bottom + (top - bottom) / (1 + (EC50 / d)^h) to every predicted curve.

    The response at a dose is its projection on the curve's own main direction over doses, divided by the
    root of the number of genes: the root mean square response along that direction, in the response's unit.

    Parameters
    ----------
    doses
        (M, D) uM, above 0, in any order; NaN where a curve has fewer than D.
    responses
        (M, D, G) predicted responses, relative to control.
    bottom
        Response without the compound: 0 for responses that are relative to control; None to fit it.
    smallest_effect
        In the response's unit: a curve whose largest root mean square response is not above it is flat.
    largest_misfit
        Share of the largest response: a curve that falls back by more is not monotone; one that the best
        fit misses by more, at any dose, has another shape.

    Returns
    -------
    DataFrame
        `SCREENED_DOSES_SCHEMA`, a row a curve. n_doses: distinct ones; ec50, slope, bottom and top: null
        unless the state is "identified"; ec50_low and ec50_high: EC50 whose curves fit as well to within 1 %
        of the largest response (`DoseFits`), null where there is no such end, so that they are the bounds
        of a curve that is "open", "above" (at most the highest dose) or "below" (at least the lowest),
        and null where the shape is no sigmoid; r2: share of the variance over doses that the fit
        explains; largest_residual: of the fit, as a share of the largest response; direction_share: share
        of the curve's squared length on its main direction; effect_size, largest_effect_size: root mean
        square response at the highest dose, and the largest over doses. Null where undefined.

    Raises
    ------
    ConfigError
        A threshold is negative.
    SchemaError
        Shapes do not fit, a curve has no dose, a dose is not above 0, or a response is not finite.
    """
    if smallest_effect < 0 or largest_misfit < 0:
        raise ConfigError(
            f"smallest_effect={smallest_effect:g}, largest_misfit={largest_misfit:g}: give 0 or more."
        )
    curves = project_curves(doses, responses)
    values = curves.values / np.sqrt(responses.shape[2])
    fits = fit_log_logistic_curves(curves.doses, values, bottom=bottom)
    n_distinct = _distinct(curves.doses)
    largest = np.nanmax(np.abs(values), axis=1, initial=0.0)
    residual = _ratio(np.nanmax(np.abs(fits.residuals), axis=1, initial=0.0), largest)
    state = np.full(len(values), IDENTIFIED, dtype=object)
    # Later statements overrule earlier ones: what is not a sigmoid has no half-maximal dose to place.
    state[(fits.low == 0) | np.isinf(fits.high)] = OPEN
    state[fits.ec50 < curves.doses[:, 0]] = BELOW
    state[fits.ec50 > np.nanmax(curves.doses, axis=1, initial=0.0)] = ABOVE
    state[residual > largest_misfit] = OTHER_SHAPE
    state[_fall(values, bottom) > largest_misfit * largest] = NOT_MONOTONE
    state[np.nanmax(curves.effect_sizes, axis=1, initial=0.0) <= smallest_effect] = FLAT
    state[n_distinct < FEWEST_DOSES + (bottom is None)] = TOO_FEW_DOSES
    return _frame(curves, values, fits, n_distinct, residual, state)


def half_maximal_words() -> pl.Expr:
    """Say the half-maximal dose of each row, or what can be said instead of it, as `LogLogisticFit.words`."""
    low, high = pl.col("ec50_low"), pl.col("ec50_high")
    is_placed = pl.col("state").is_in((IDENTIFIED, OPEN, ABOVE, BELOW))
    return (
        pl.when(pl.col("state") == IDENTIFIED)
        .then(pl.format("{} [{}, {}]", *(_dose_words(name) for name in ("ec50", "ec50_low", "ec50_high"))))
        .when(is_placed & low.is_not_null())
        .then(pl.format("> {}", _dose_words("ec50_low")))
        .when(is_placed & high.is_not_null())
        .then(pl.format("< {}", _dose_words("ec50_high")))
        .when(is_placed)
        .then(pl.lit("not determined"))
        .otherwise(pl.col("state"))
    )


def _dose_words(column: str) -> pl.Expr:
    return pl.col(column).map_elements(lambda dose: f"{dose:.3g}", return_dtype=pl.String)


def _distinct(doses: FloatArray) -> NDArray[np.int64]:
    """Return (M,) how many distinct doses rising rows have."""
    new = np.diff(doses, axis=1) > 0
    counted: NDArray[np.int64] = new.sum(axis=1) + (~np.isnan(doses)).any(axis=1)
    return counted


def _ratio(upper: FloatArray, lower: FloatArray) -> FloatArray:
    found = np.full(upper.shape, np.nan)
    np.divide(upper, lower, out=found, where=lower > 0)
    return found


def _fall(values: FloatArray, bottom: float | None) -> FloatArray:
    """Return (M,) the longest way back between two doses; from the bottom, where it is known, too.

    A falling curve falls all the way: the shorter of the ways up and down is the way back.
    """
    start = values[:, :1] if bottom is None else np.full((len(values), 1), bottom)
    series = np.concatenate([start, np.nan_to_num(values, nan=-np.inf)], axis=1)
    down = np.maximum.accumulate(series, axis=1) - series
    series = np.concatenate([start, np.nan_to_num(values, nan=np.inf)], axis=1)
    up = series - np.minimum.accumulate(series, axis=1)
    ways = [np.where(np.isfinite(way), way, 0.0).max(axis=1) for way in (down, up)]
    shorter: FloatArray = np.minimum(*ways)
    return shorter


def _frame(
    curves: ProjectedCurves,
    values: FloatArray,
    fits: DoseFits,
    n_distinct: NDArray[np.int64],
    residual: FloatArray,
    state: NDArray[np.object_],
) -> pl.DataFrame:
    highest = np.nanmax(curves.doses, axis=1, initial=0.0)
    is_known, is_fitted = state == IDENTIFIED, ~np.isin(state, (FLAT, TOO_FEW_DOSES))
    low, high = _bounds(fits, curves.doses[:, 0], highest, state)
    places = (~np.isnan(curves.doses)).sum(axis=1) - 1
    mean = np.nanmean(values, axis=1, keepdims=True) if len(values) else values[:, :1]
    spread = np.nansum(np.square(values - mean), axis=1)
    spread[spread <= np.finfo(np.float64).eps * np.nansum(np.square(values), axis=1)] = 0.0
    columns = {
        "n_doses": n_distinct,
        "lowest_dose": curves.doses[:, 0],
        "highest_dose": highest,
        "state": state.astype(str),
        "ec50": np.where(is_known, fits.ec50, np.nan),
        "ec50_low": low,
        "ec50_high": high,
        "slope": np.where(is_known, fits.slope, np.nan),
        "bottom": np.where(is_known, fits.bottom, np.nan),
        "top": np.where(is_known, fits.top, np.nan),
        "r2": np.where(is_fitted, 1.0 - _ratio(fits.sum_of_squares, spread), np.nan),
        "largest_residual": np.where(is_fitted, residual, np.nan),
        "direction_share": curves.direction_share,
        "effect_size": np.take_along_axis(curves.effect_sizes, places[:, None], axis=1)[:, 0],
        "largest_effect_size": np.nanmax(curves.effect_sizes, axis=1, initial=0.0),
    }
    table = pl.DataFrame(columns, schema=SCREENED_DOSES_SCHEMA)
    return table.fill_nan(None)


def _bounds(
    fits: DoseFits, lowest: FloatArray, highest: FloatArray, state: NDArray[np.object_]
) -> tuple[FloatArray, FloatArray]:
    """Return (M,) ends of the half-maximal dose; NaN where there is none, or no half-maximal dose."""
    low, high = np.where(fits.low > 0, fits.low, np.nan), np.where(np.isinf(fits.high), np.nan, fits.high)
    is_below, is_above = state == BELOW, state == ABOVE
    low, high = np.where(is_below, np.nan, low), np.where(is_above, np.nan, high)
    low = np.where(is_above, np.fmin(low, highest), low)
    high = np.where(is_below, np.fmax(high, lowest), high)
    is_placed = np.isin(state, (IDENTIFIED, OPEN, ABOVE, BELOW))
    return np.where(is_placed, low, np.nan), np.where(is_placed, high, np.nan)
