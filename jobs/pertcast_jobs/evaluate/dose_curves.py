"""Ask a finished run for finer dose curves than were measured, and compare them with what was measured.

A model can be asked for any dose. Its half-maximal doses are then read from a whole curve, while a measured
curve has the doses of the experiment.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from pertcast.analysis.compared import CONDITION_COLUMNS, ComparedResponses
from pertcast.analysis.dose_response import DenseResponses, DoseResponse, dose_response
from pertcast.analysis.dose_response.curves import CURVE_KEY, Curve, find_curves
from pertcast_data.errors import ConfigError, SchemaError
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast_jobs.evaluate.runs import open_run

MOST_CURVES: Final = 60
"""Curves that a run is asked for, the strongest measured effect first."""
GRID_DOSES: Final = 25

_CURVES_AT_ONCE: Final = 20


def dense_conditions(obs: pl.DataFrame, curves: Sequence[Curve], n_doses: int = GRID_DOSES) -> pl.DataFrame:
    """Return the conditions of curves at many doses, evenly in log dose within the tested ones.

    Beyond the tested doses a model extrapolates: it is not asked there.

    Parameters
    ----------
    obs
        The store's rows: what is known of each perturbation (structure, targets).
    curves
        C curves of the store.
    n_doses
        Doses a curve.

    Returns
    -------
    DataFrame
        C x n_doses rows with the columns of `obs` but the plate: predictions start from the mean control of
        the cell line and time.

    Raises
    ------
    SchemaError
        A curve is not in the store.
    """
    first = obs.drop("batch_id", "condition_id", strict=False).unique(
        CURVE_KEY, keep="first", maintain_order=True
    )
    place = {key: row for row, key in enumerate(first.select(CURVE_KEY).iter_rows())}
    absent = [curve for curve in curves if curve.key not in place]
    if absent:
        raise SchemaError(
            f"The run's store does not hold {absent[0].name}, {absent[0].place} ({len(absent):,} of "
            f"{len(curves):,} curves). Compare responses of the store that the run was trained on."
        )
    rows = np.repeat([place[curve.key] for curve in curves], n_doses)
    grids = [np.geomspace(curve.doses[0], curve.doses[-1], n_doses) for curve in curves]
    doses = pl.Series("pert_dose", np.concatenate(grids) if grids else np.empty(0))
    table = first[rows].with_columns(doses, pl.lit("uM").alias("pert_dose_unit"))
    missing = [pl.lit(None, pl.String).alias(name) for name in ("cmap_name",) if name not in table.columns]
    return table.with_columns(*missing)


def generated_dose_curves(
    run: Path | str,
    compared: ComparedResponses,
    *,
    n_doses: int = GRID_DOSES,
    most_curves: int = MOST_CURVES,
    batch_size: int = 256,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
) -> DenseResponses:
    """Ask a run for the responses of held-out curves at many doses.

    Parameters
    ----------
    run
        Folder of a finished run; its store and split must be those of the training.
    compared
        Held-out conditions of the run, measured and generated; says which curves there are and how strong
        each is.
    n_doses
        Doses a curve, evenly in log dose within the tested ones.
    most_curves
        At most so many curves, those with the largest measured effect first.
    batch_size
        Conditions a batch.
    seed
        Of models that sample.
    progress
        Told of curves generated.

    Raises
    ------
    ConfigError
        There is no finished run, or fewer than three doses or no curves are asked for.
    LeakageError
        Store or split are not those of the training.
    SchemaError
        The compared responses have other genes than the model, or are not of the run's store.
    """
    if n_doses < 3 or most_curves < 1:
        raise ConfigError(f"n_doses={n_doses} and most_curves={most_curves}: ask for 3 doses and 1 curve.")
    opened = open_run(Path(run))
    predictor = opened.predictor
    if predictor.genes != compared.genes:
        raise SchemaError(
            f"The model of {run} has {len(predictor.genes)} genes, the compared responses "
            f"{len(compared.genes)}, or another order. Compare responses over the model's genes."
        )
    curves = find_curves(compared)[:most_curves]
    parts, tables = [np.empty((0, len(compared.genes)), np.float32)], []
    for start in range(0, len(curves), _CURVES_AT_ONCE):
        asked = dense_conditions(opened.store.obs, curves[start : start + _CURVES_AT_ONCE], n_doses)
        parts.append(predictor.predict(asked, seed=seed, batch_size=batch_size).mean)
        tables.append(asked)
        progress(min(start + _CURVES_AT_ONCE, len(curves)), len(curves), "dose curves")
    conditions = pl.concat(tables) if tables else compared.conditions.clear()
    named = conditions.with_columns(pl.lit(None, pl.String).alias("condition_id")).select(CONDITION_COLUMNS)
    return DenseResponses(named, compared.genes, np.concatenate(parts))


def run_dose_response(
    run: Path | str,
    compared: ComparedResponses,
    *,
    n_doses: int = GRID_DOSES,
    most_curves: int = MOST_CURVES,
    batch_size: int = 256,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
) -> DoseResponse:
    """Compare dose and time response, the model's curves from a dense grid of doses.

    See `generated_dose_curves` for the parameters and errors, and `dose_response` for what is compared.
    """
    dense = generated_dose_curves(
        run,
        compared,
        n_doses=n_doses,
        most_curves=most_curves,
        batch_size=batch_size,
        seed=seed,
        progress=progress,
    )
    return dose_response(compared, dense=dense, seed=seed, progress=progress)
