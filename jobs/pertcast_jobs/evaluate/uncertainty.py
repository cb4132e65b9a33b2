"""Whether a run's stated uncertainty is true: calibrated on its fold's validation part, judged on the test.

The validation part was never trained on, and is dealt like the test part; the weights that were kept are
those that suit it best, which is said.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
from pertcast.evaluation.from_store.contenders import Forecast, forecast
from pertcast.evaluation.from_store.held_out_part import HeldOutPart, held_out_part
from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.scores.score_board import CLUSTER
from pertcast.evaluation.trust.evidence import Uncertainty
from pertcast.evaluation.trust.filling import DISTANCE
from pertcast.evaluation.uncertainty.calibration import STOPPED_EARLY, Forecasted, judge
from pertcast.models.baselines.statistics import ConditionStatistics
from pertcast.models.registry import MODELS
from pertcast.predictor import Predictor
from pertcast_data.errors import SchemaError
from pertcast_data.splits import get_split_kind
from pertcast_data.store import ExpressionStore, RowReader


def _distance(part: HeldOutPart) -> FloatArray | None:
    table = part.held.conditions
    if DISTANCE not in table.columns:
        return None
    found: FloatArray = table[DISTANCE].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return found


def forecasted(part: HeldOutPart, found: Forecast) -> Forecasted:
    """Return truth and forecast of a part; the sd is that of a condition's mean over its profiles.

    A model states the sd of single profiles around its mean: taken at its word, the mean of n profiles
    scatters by sd / sqrt(n). What the members of an ensemble disagree on is not averaged away.
    """
    n_rows = part.held.conditions["n_rows"].to_numpy().astype(np.float64)
    return Forecasted(
        truth=part.held.truth,
        mean=found.mean,
        sd=None if found.sd is None else _sd_of_mean(found.sd, found.sd_between, n_rows),
        cluster=part.held.conditions[CLUSTER].to_numpy(),
        distance=_distance(part),
    )


def _sd_of_mean(sd: FloatArray, between: FloatArray | None, n_rows: FloatArray) -> FloatArray:
    """Return (N, G) the sd of the means of (N,) numbers of profiles."""
    if between is None:
        return np.asarray(sd / np.sqrt(n_rows)[:, None])
    shared = np.square(between, dtype=np.float64)
    own = np.maximum(np.square(sd, dtype=np.float64) - shared, 0.0)
    return np.asarray(np.sqrt(own / n_rows[:, None] + shared))


def measure_uncertainty(
    predictor: Predictor,
    store: ExpressionStore,
    reader: RowReader,
    validation_rows: IndexArray,
    statistics: ConditionStatistics,
    test: tuple[HeldOutPart, Forecast],
    split_kind: str,
    seed: int = 0,
) -> Uncertainty | None:
    """Calibrate a model's intervals on its validation rows and judge them on its test part.

    Parameters
    ----------
    predictor
        The model.
    store, reader
        The truth.
    validation_rows
        Rows of the fold's validation part.
    statistics
        Sums over the training rows.
    test
        The test part, and what the model says about it.
    split_kind
        Tells whether both parts were dealt by one rule.
    seed
        As in `held_out_part`.

    Returns
    -------
    Uncertainty or None
        None where fewer than two validation conditions can be predicted.
    """
    try:
        part = held_out_part(store, reader, validation_rows, predictor.encoder, statistics, seed)
    except SchemaError:
        return None
    inputs = replace(part.inputs, wells=np.empty(0, dtype=np.int64))
    found = forecast(predictor.model, inputs.conditions, inputs)
    is_trained = not MODELS[predictor.bundle.model_name].is_baseline
    return Uncertainty(
        judged=(judge(forecasted(part, found), forecasted(*test)),),
        is_exchangeable=get_split_kind(split_kind).holds_out_test,
        remarks=(STOPPED_EARLY,) if is_trained else (),
    )
