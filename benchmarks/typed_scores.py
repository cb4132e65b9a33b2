"""A trained fold beside every baseline on its held-out conditions, each scored against its own type.

The deviation that counts is that from the mean training response of the type; a condition is retrieved among
the held-out conditions of its type.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from paired import METRICS
from pertcast.encoding import make_training_data
from pertcast.evaluation.from_store.contenders import SharedSums
from pertcast.evaluation.from_store.held_out_part import HeldOutPart, held_out_part
from pertcast.evaluation.held_out import FloatArray, HeldOut
from pertcast.evaluation.metrics import get_metric
from pertcast.evaluation.rowwise import pearson
from pertcast.models.baselines.statistics import ConditionStatistics
from pertcast.models.batch import ConditionBatch
from pertcast_jobs.evaluate.entrants import forecast_all, gather_entrants
from pertcast_jobs.evaluate.oracle import CONTENDER, oracle_responses
from pertcast_jobs.evaluate.runs import OpenRun, open_run
from typed_references import Floats, Measured, reference_predictions

R2: Final = "r2_train_mean"
WITHOUT_OWN: Final = "pearson_without_own"
BATCH: Final = 1024


@dataclass(frozen=True)
class TrainingResponses:
    """N training conditions, their (N, G) mean responses, and type number -> (G,) mean of its conditions."""

    conditions: Measured
    response: Floats
    means: dict[int, Floats]


def measured_of(conditions: ConditionBatch) -> Measured:
    """Return single-gene conditions as arrays."""
    return Measured(
        kind=conditions.pert_type[:, 0].numpy(),
        gene=conditions.perturbation[:, 0].numpy(),
        own_gene=conditions.own_gene[:, 0].numpy(),
        features=conditions.summed_features().numpy().astype(np.float64),
    )


def training_responses(conditions: ConditionBatch, statistics: ConditionStatistics) -> TrainingResponses:
    """Return what is known from training; each condition counts once."""
    measured, response = measured_of(conditions), statistics.condition_means().numpy()
    means = {kind: response[measured.kind == kind].mean(axis=0) for kind in np.unique(measured.kind).tolist()}
    return TrainingResponses(measured, response, means)


def by_type(held: HeldOut, kind: np.ndarray[Any, Any], means: dict[int, Floats]) -> HeldOut:
    """Return the truth with the type's training mean for each condition, told apart within the type.

    Raises ValueError for a type that training does not hold.
    """
    unknown = sorted(set(kind.tolist()) - set(means))
    if unknown:
        raise ValueError(f"Types number {unknown} are held out and not trained on; use another split.")
    numbers = sorted(means)
    return replace(
        held,
        train_perturbed_mean=np.stack([means[number] for number in numbers]).astype(np.float32),
        train_mean_index=np.searchsorted(numbers, kind),
        pool=kind,
    )


def r2_against_train_mean(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """Return (N,) 1 - |x - y|^2 / |x - m|^2 over genes, m the training mean that belongs to the condition."""
    mean = held.train_means(slice(None)).astype(np.float64)
    left = np.square(held.truth - prediction.astype(np.float64)).sum(axis=1)
    total = np.square(held.truth - mean).sum(axis=1)
    found: FloatArray = np.full(len(total), np.nan)
    np.divide(left, total, out=found, where=total > 0)
    return 1.0 - found


def pearson_without_own(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """Return (N,) corr of y - m and x - m over all genes but the perturbed one; NaN where constant."""
    mean = held.train_means(slice(None)).astype(np.float64)
    said, true = (side.astype(np.float64) - mean for side in (prediction, held.truth))
    counted = np.ones(held.truth.shape, dtype=bool)
    for column in held.own_gene.T:
        known = np.flatnonzero(column >= 0)
        counted[known, column[known]] = False
    scale = np.abs(mean).max(axis=1)
    return np.array(
        [
            pearson(said[row, keep][None], true[row, keep][None], scale[row : row + 1])[0]
            for row, keep in enumerate(counted)
        ]
    )


LOCAL: Final = {R2: r2_against_train_mean, WITHOUT_OWN: pearson_without_own}
"""Metrics that no board of the product has."""


def typed_scores(prediction: FloatArray, held: HeldOut) -> dict[str, FloatArray]:
    """Return metric -> (N,) of every metric that tables show."""
    scores = {metric.name: LOCAL.get(metric.name) or get_metric(metric.name).score for metric in METRICS}
    return {name: score(prediction.astype(np.float32), held) for name, score in scores.items()}


def number_of_other_types(training: Measured, asked: Measured) -> list[int]:
    """Return in how many other types training shows the gene of each condition."""
    known = set(zip(training.gene.tolist(), training.kind.tolist(), strict=True))
    kinds = {kind for _, kind in known}
    rows = zip(asked.gene.tolist(), asked.kind.tolist(), strict=True)
    return [sum((gene, other) in known for other in kinds - {kind}) for gene, kind in rows]


def _forecasts(
    run: OpenRun, part: HeldOutPart, sums: SharedSums
) -> tuple[dict[str, FloatArray], dict[str, str]]:
    entrants = gather_entrants(run.predictor, part, sums, 0)
    roles = {entrant.contender.name: str(entrant.contender.role) for entrant in entrants}
    found = forecast_all(entrants, part)
    return {name: forecast.mean for name, forecast in found.items()}, roles


def judge(path: Path, truth: Path | None = None) -> dict[str, Any]:
    """Return what a line holds of one trained fold: who, on what, and all scores.

    Parameters
    ----------
    path
        A finished run on a store of single genes of several types.
    truth
        truth.npz of the atlas that the store came from: its noise-free responses join as "oracle".
    """
    run = open_run(path)
    encoder = run.predictor.encoder
    data = make_training_data(run.store, run.split, run.fold, encoder, batch_size=BATCH, reader=run.reader)
    sums = SharedSums(data.statistics)
    statistics = sums.statistics(encoder.space)
    rows = run.split.rows(run.store, run.fold, "test")
    part = held_out_part(run.store, run.reader, rows, encoder, statistics)
    known = training_responses(encoder.training_conditions, statistics)
    units = np.unique(part.inputs.units.condition, return_index=True)[1]
    every = measured_of(part.inputs.conditions)
    asked = Measured(every.kind[units], every.gene[units], every.own_gene[units], every.features[units])
    held = by_type(part.held, asked.kind, known.means)
    predictions, roles = _forecasts(run, part, sums)
    for name, found in reference_predictions(known.conditions, known.response, asked, known.means).items():
        predictions[name], roles[name] = found, "reference"
    if truth is not None:
        predictions[CONTENDER.name] = oracle_responses(truth, held, run.store.normalisation)
        roles[CONTENDER.name] = str(CONTENDER.role)
    scores = {name: typed_scores(found, held) for name, found in predictions.items()}
    return {
        "model": run.predictor.bundle.model_name,
        "roles": roles,
        "gene": held.conditions["pert_id"].to_list(),
        "pert_type": held.conditions["pert_type"].to_list(),
        "other_types": number_of_other_types(known.conditions, asked),
        "scores": {name: {k: _plain(v) for k, v in found.items()} for name, found in scores.items()},
    }


def _plain(values: FloatArray) -> list[float | None]:
    """Return values as JSON holds them, six decimals, null for undefined ones."""
    return [None if np.isnan(value) else round(float(value), 6) for value in values]
