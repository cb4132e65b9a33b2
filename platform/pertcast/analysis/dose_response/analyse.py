"""Fit every curve of every contender, and set what they say beside what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import polars as pl
from pertcast_data.errors import ConfigError, SchemaError
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast.analysis.association import N_DRAWS
from pertcast.analysis.compared import ComparedResponses
from pertcast.analysis.dose_response.curves import (
    CURVE_KEY,
    MIN_DOSES,
    Curve,
    DenseResponses,
    Key,
    find_curves,
    groups,
    with_dose,
)
from pertcast.analysis.dose_response.drift import drifts
from pertcast.analysis.dose_response.ec50 import compare_ec50
from pertcast.analysis.dose_response.fitted import LogLogisticFit
from pertcast.analysis.dose_response.result import MEASURED, DoseResponse, FittedCurve, dense_title
from pertcast.analysis.dose_response.shared import FREE_SLOPE_DOSES, ScalarCurve, SharedSlope, fit_curves

Kept = TypeVar("Kept")


def dose_response(
    compared: ComparedResponses,
    *,
    dense: DenseResponses | None = None,
    min_doses: int = MIN_DOSES,
    n_draws: int = N_DRAWS,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
) -> DoseResponse:
    """Compare dose and time response of generated profiles with the measured one.

    A curve is a perturbation in a context at a time. Its responses are projected on the main direction of the
    perturbation's *other* measured curves (its own where it has none), measured and generated ones alike, and
    fitted by E(d) = E_max / (1 + (EC50 / d)^h): responses are relative to control, so that nothing happens
    without the compound. The slope h is shared by the curves of a contender that have fewer than five doses.

    Parameters
    ----------
    compared
        N conditions over G genes, doses in uM, times in hours.
    dense
        The model's responses at further doses of the same curves. They are fitted beside those at the tested
        doses, which alone compare like with like: between the doses of its training a model was told nothing.
        A grid counts as the tested doses when its error is judged.
    min_doses
        Distinct doses that a curve must have; at least three.
    n_draws, seed
        Of the bootstrap over perturbations.
    progress
        Told of contenders fitted.

    Raises
    ------
    ConfigError
        `min_doses` is below three, or there is no contender.
    SchemaError
        Responses are not finite, `dense` has other genes, or no condition has a dose.
    """
    _require_sense(compared, dense, min_doses)
    responses = {MEASURED: compared.measured, **compared.generated}
    curves = find_curves(compared, min_doses)
    scalars = {
        title: {c.key: ScalarCurve(c.doses, c.project(values[c.rows])) for c in curves}
        for title, values in responses.items()
    }
    if dense is not None:
        scalars[dense_title(compared.model)] = _dense_curves(curves, dense)
    fits, slopes = _fit_all(scalars, progress)
    n_used = sum(len(curve.rows) for curve in curves)
    return DoseResponse(
        model=compared.model,
        curves=tuple(
            FittedCurve(curve, _of_curve(curve, scalars), _of_curve(curve, fits)) for curve in curves
        ),
        slopes=slopes,
        agreement=tuple(
            compare_ec50(
                title, [curve for curve in curves if curve.key in found], fits[MEASURED], found,
                _amplitudes(scalars[MEASURED], scalars[title]), n_draws=n_draws, seed=seed,
            )
            for title, found in fits.items()
        ),
        drift=drifts(
            compared.conditions, responses, MEASURED, min_doses=min_doses, n_draws=n_draws, seed=seed
        ),
        n_left_out=compared.conditions.height - n_used,
        seed=seed,
        warnings=_warnings(curves, compared.conditions.height - n_used, slopes),
    )  # fmt: skip


def _require_sense(compared: ComparedResponses, dense: DenseResponses | None, min_doses: int) -> None:
    if min_doses < MIN_DOSES:
        raise ConfigError(f"min_doses={min_doses}: a curve needs at least {MIN_DOSES} doses.")
    if not compared.generated:
        raise ConfigError("There are no generated responses to compare. Give at least the model's.")
    if not with_dose(compared.conditions).any():
        raise SchemaError(
            f"None of the {compared.conditions.height} conditions has a dose above 0: there is no dose "
            "response. Give compounds, with pert_dose in uM."
        )
    for title, values in {MEASURED: compared.measured, **compared.generated}.items():
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
            raise SchemaError(
                f"Responses {title!r} hold NaN or infinite values (row {row}, condition "
                f"{compared.conditions['condition_id'][row]}); leave the condition out."
            )
    if dense is not None and dense.genes != compared.genes:
        raise SchemaError(
            f"The dense responses have {len(dense.genes)} genes, the compared ones {len(compared.genes)}, or "
            "another order. Generate them over the same genes."
        )


def _dense_curves(curves: Sequence[Curve], dense: DenseResponses) -> dict[Key, ScalarCurve]:
    """Return the curves that have a dense grid on it; a grid weighs as much as the tested doses."""
    doses = dense.conditions["pert_dose"].cast(pl.Float64).fill_null(0.0).to_numpy()
    rows_of = groups(dense.conditions, CURVE_KEY)
    found = {}
    for curve in curves:
        rows = rows_of.get(curve.key, np.empty(0, dtype=np.int64))
        rows = rows[doses[rows] > 0]
        rows = rows[np.argsort(doses[rows], kind="stable")]
        if len(np.unique(doses[rows])) >= MIN_DOSES:
            weight = min(1.0, len(np.unique(curve.doses)) / len(rows))
            found[curve.key] = ScalarCurve(doses[rows], curve.project(dense.responses[rows]), weight)
    return found


def _fit_all(
    scalars: Mapping[str, Mapping[Key, ScalarCurve]], progress: ProgressCallback
) -> tuple[dict[str, dict[Key, LogLogisticFit]], dict[str, SharedSlope]]:
    fits, slopes = {}, {}
    for done, (title, curves) in enumerate(scalars.items(), start=1):
        found, slopes[title] = fit_curves(list(curves.values()))
        fits[title] = dict(zip(curves, found, strict=True))
        progress(done, len(scalars), title)
    return fits, slopes


def _of_curve(curve: Curve, found: Mapping[str, Mapping[Key, Kept]]) -> dict[str, Kept]:
    return {title: by_key[curve.key] for title, by_key in found.items() if curve.key in by_key}


def _amplitudes(
    measured: Mapping[Key, ScalarCurve], generated: Mapping[Key, ScalarCurve]
) -> dict[Key, float]:
    """Return generated over measured response along the direction at the highest dose; NaN where it is 0."""
    tops = {
        key: (float(each.responses[-1]), float(measured[key].responses[-1]))
        for key, each in generated.items()
    }
    return {key: said / true if true != 0 else math.nan for key, (said, true) in tops.items()}


def _warnings(curves: Sequence[Curve], n_left_out: int, slopes: Mapping[str, SharedSlope]) -> tuple[str, ...]:
    said = []
    few = sum(len(np.unique(curve.doses)) < FREE_SLOPE_DOSES for curve in curves)
    if few:
        said.append(
            f"{few:,} of {len(curves):,} curves have fewer than {FREE_SLOPE_DOSES} doses, too few for "
            "a slope of their own: they share one, and intervals of EC50 hold for that slope."
        )
    own = sum(curve.direction_from == "own" for curve in curves)
    if own:
        said.append(
            f"{own:,} curves are the only ones of their perturbation and are projected on their own "
            "direction: noise adds to the measured responses, and generated ones look too small beside them."
        )
    assumed = [title for title, slope in slopes.items() if slope.is_assumed]
    if assumed:
        said.append(f"Nothing to estimate a slope from, 1 is assumed: {', '.join(assumed)}.")
    if n_left_out:
        said.append(f"{n_left_out:,} conditions belong to no curve (no dose, or too few doses beside it).")
    return tuple(said)
