"""One metric of models on one part of a fold: what a choice between models is made by.

The part is named by who asks. What is compared here is chosen here, so the test part is left to `evaluate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
import polars as pl
from pertcast.encoding import ConditionEncoder, make_training_data
from pertcast.evaluation.bootstrap import Estimate, estimates
from pertcast.evaluation.from_store.contenders import SharedSums, fit_baselines, forecast
from pertcast.evaluation.from_store.held_out_part import (
    HeldOutPart,
    held_out_part,
    measured_cells,
    with_tests,
)
from pertcast.evaluation.held_out import FloatArray
from pertcast.evaluation.metrics import PRIMARY_METRIC, Metric, get_metric
from pertcast.evaluation.scores.score_board import CLUSTER, Contender, ScoreBoard, score_conditions
from pertcast.models.contract import ResponseModel
from pertcast_data.errors import ConfigError
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.splits import Split
from pertcast_data.store import ExpressionStore

Part = Literal["validation", "test"]

_BATCH: Final = 1024
_MODEL: Final = Contender("model", "Model", "model")


@dataclass(frozen=True)
class OpenPart:
    """A part of a fold in the terms of an encoder, with the sums over the training rows."""

    part: HeldOutPart
    sums: SharedSums
    encoder: ConditionEncoder


@dataclass(frozen=True)
class BaselineScores:
    """The house's baselines on one part.

    Attributes
    ----------
    metric
        What they are scored by.
    conditions
        N rows: condition_id and cluster (the perturbation, which is resampled as a whole).
    scores
        Baseline -> (N,), NaN where undefined.
    titles
        Baseline -> what people read.
    """

    metric: str
    conditions: pl.DataFrame
    scores: Mapping[str, FloatArray]
    titles: Mapping[str, str]

    @property
    def means(self) -> dict[str, float]:
        """Baseline -> its mean over conditions."""
        metric = get_metric(self.metric)
        return {name: float(np.nanmean(metric.filled(scores))) for name, scores in self.scores.items()}

    @property
    def best(self) -> str:
        """The baseline with the best mean; of equal ones the first by name."""
        sign, means = get_metric(self.metric).sign, self.means
        return min(means, key=lambda name: (-sign * means[name], name))


@dataclass(frozen=True)
class Margin:
    """A model beside the best baseline, on the conditions that both are scored on.

    Attributes
    ----------
    score, baseline_score
        Means over these conditions.
    advantage
        By how much the model is better, with the interval over resampled perturbations.
    """

    score: float
    baseline_score: float
    advantage: Estimate


def open_part(
    store_path: Path,
    split_path: Path,
    fold: int,
    part: Part,
    encoder: ConditionEncoder,
    metric: str,
    *,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
) -> OpenPart:
    """Measure the truth of a part of a fold.

    Parameters
    ----------
    store_path, split_path, fold, part
        Which conditions.
    encoder
        The model's, fitted on the training rows.
    metric
        What will be scored: tests of genes are made only for metrics that may read them.
    seed, progress
        As in `evaluate_run`.

    Raises
    ------
    SchemaError
        The part is empty or has fewer than two conditions that can be predicted.
    """
    store, split = ExpressionStore.open(store_path), Split.load(split_path)
    reader = store.reader()
    data = make_training_data(
        store, split, fold, encoder, batch_size=_BATCH, seed=seed, rank=0, world_size=1, reader=reader
    )
    sums = SharedSums(data.statistics, progress)
    rows = split.rows(store, fold, part)
    found = held_out_part(store, reader, rows, encoder, sums.statistics(encoder.space), seed)
    found = replace(found, inputs=replace(found.inputs, wells=np.empty(0, dtype=np.int64)))
    if metric != PRIMARY_METRIC:
        found, _ = with_tests(found, reader, measured_cells(found, store, reader, seed), progress)
    return OpenPart(found, sums, encoder)


def score_baselines(opened: OpenPart, metric: str, *, leave_out: str = "") -> BaselineScores:
    """Fit every baseline that applies on the training rows, and score it on the part.

    Raises
    ------
    ConfigError
        No baseline applies.
    """
    fitted = fit_baselines(
        opened.encoder.space, opened.encoder.training_conditions, opened.sums, leave_out=leave_out
    )
    if not fitted:
        raise ConfigError("No baseline applies to these data, so a model has no advantage to measure.")
    return BaselineScores(
        metric=metric,
        conditions=opened.part.held.conditions.select("condition_id", CLUSTER),
        scores={each.contender.name: _score(each.model, opened, get_metric(metric)) for each in fitted},
        titles={each.contender.name: each.contender.title for each in fitted},
    )


def _score(model: ResponseModel, opened: OpenPart, metric: Metric) -> FloatArray:
    inputs = opened.part.inputs
    mean = forecast(model, inputs.conditions, inputs).mean
    return score_conditions(mean, opened.part.held, metrics=[metric])[metric.name]


def score_beside(model: ResponseModel, opened: OpenPart, baselines: BaselineScores) -> Margin:
    """Score a model on the part, beside the best baseline.

    Parameters
    ----------
    model
        On the CPU.
    opened
        The part in the terms of the model's encoder, which may name other conditions than the baselines'.
    baselines
        From `score_baselines`, of the same part.

    Raises
    ------
    ConfigError
        No condition is scored for both.
    """
    metric = get_metric(baselines.metric)
    own = opened.part.held.conditions.select("condition_id", CLUSTER).with_columns(
        pl.Series("model", _score(model, opened, metric))
    )
    theirs = baselines.conditions.select("condition_id").with_columns(
        pl.Series("baseline", baselines.scores[baselines.best])
    )
    both = own.join(theirs, on="condition_id", how="inner", maintain_order="left")
    rival = Contender("baseline", baselines.titles[baselines.best], "baseline")
    board = ScoreBoard(
        both,
        (_MODEL, rival),
        {name: {metric.name: both[name].to_numpy()} for name in (_MODEL.name, rival.name)},
    )
    gain = board.gain(metric.name, rival.name)
    defined = ~np.isnan(gain)
    if not defined.any():
        raise ConfigError(
            f"{metric.name} is defined for none of the {both.height} conditions that model and baselines "
            "share. Choose another search.scored_by or another split."
        )
    score, baseline_score = (
        float(metric.filled(board.scores[name][metric.name])[defined].mean())
        for name in ("model", "baseline")
    )
    return Margin(score, baseline_score, advantage=estimates(gain[:, None], board.cluster)[0])
