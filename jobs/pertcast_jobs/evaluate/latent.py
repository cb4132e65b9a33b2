"""The latent space of a run: its model's own, or principal components of training profiles where it has none.

Profiles are absolute (control and response together), so that cell lines have a place too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import torch
from pertcast.analysis.compared import CONDITION_COLUMNS, ComparedResponses
from pertcast.analysis.dose_response.curves import Curve, find_curves
from pertcast.analysis.latent_space import LatentPaths, LatentProfiles, LatentSpace, latent_space
from pertcast.analysis.latent_space.principal import principal_axes
from pertcast.evaluation.from_store.contenders import forecast
from pertcast.evaluation.from_store.held_out_part import HeldOutPart, first_units
from pertcast.evaluation.from_store.store_truth import read_blocks
from pertcast.evaluation.held_out import FloatArray
from pertcast.models.baselines.statistics import ConditionStatistics
from pertcast.models.batch import ConditionBatch
from pertcast.models.contract import ResponseModel
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast_jobs.evaluate.dose_curves import GRID_DOSES, MOST_CURVES, dense_conditions
from pertcast_jobs.evaluate.runs import OpenRun, open_run
from pertcast_jobs.evaluate.thinning import whole_perturbations
from pertcast_jobs.evaluate.wells import part_of_run, statistics_of_run

N_COMPONENTS: Final = 32
MOST_FITTED: Final = 2_000
"""Training conditions that principal components are fitted on at most, evenly spaced."""

MOST_CONDITIONS: Final = 4_000
"""Held-out conditions that are looked at: silhouettes compare every two of them."""

_PROFILES: Final = 1024


@dataclass(frozen=True)
class Coordinates:
    """A space that profiles have coordinates in.

    Attributes
    ----------
    words
        Which space it is.
    of
        ``of(conditions, basal, response) -> (N, D)``: N encoded conditions, their (N, G) basal profiles and
        their (N, G) responses.
    """

    words: str
    of: Callable[[ConditionBatch, FloatArray, FloatArray], FloatArray]


@torch.no_grad()
def model_latent(
    model: ResponseModel, conditions: ConditionBatch, basal: FloatArray, response: FloatArray
) -> FloatArray | None:
    """Return (N, D) coordinates in a model's latent space; None where it has none."""
    parts = []
    for block in read_blocks(len(response), _PROFILES):
        asked = conditions.take(torch.arange(block.start, block.stop))
        profiles = (torch.from_numpy(np.array(side[block], np.float32)) for side in (basal, response))
        found = model.latent(asked, *profiles)
        if found is None:
            return None
        parts.append(found.numpy())
    return np.concatenate(parts)


def coordinates_of_run(run: OpenRun, statistics: ConditionStatistics) -> Coordinates:
    """Return the space of a run's model, or principal components where it has none.

    Components are fitted on the mean profiles of the training conditions alone: the mean control of their
    cell line and time, plus their mean response.
    """
    model, title = run.predictor.model, run.predictor.bundle.title
    training = run.predictor.encoder.training_conditions
    nothing = np.zeros((1, run.store.n_genes), np.float32)
    if model_latent(model, training.take(torch.zeros(1, dtype=torch.int64)), nothing, nothing) is not None:

        def own(conditions: ConditionBatch, basal: FloatArray, response: FloatArray) -> FloatArray:
            found = model_latent(model, conditions, basal, response)
            if found is None:
                raise RuntimeError(f"{type(model).__name__}.latent gave coordinates once and then none.")
            return found

        return Coordinates(f"latent space of {title}", own)
    axes = principal_axes(_training_profiles(run, statistics), N_COMPONENTS)

    def project(_conditions: ConditionBatch, basal: FloatArray, response: FloatArray) -> FloatArray:
        return axes.project(basal + response)

    words = f"{len(axes.axes)} principal components of training profiles: {title} has no latent space"
    return Coordinates(words, project)


def _training_profiles(run: OpenRun, statistics: ConditionStatistics) -> FloatArray:
    """Return (C, G) mean profiles of the training conditions, at most `MOST_FITTED` of them."""
    measured = np.flatnonzero(statistics.measured().numpy())
    most = min(len(measured), MOST_FITTED)
    chosen = measured[np.linspace(0, len(measured) - 1, most).astype(np.int64)]
    names = list(run.predictor.encoder.training_index)
    wanted = pl.DataFrame({"condition_id": [names[index] for index in chosen]})
    known = run.store.conditions.select("condition_id", "cell_iname", "pert_time")
    table = wanted.join(known, on="condition_id", how="left", maintain_order="left")
    response = statistics.condition_means()[torch.from_numpy(chosen)].numpy()
    profiles: FloatArray = run.predictor.basal.lookup(table) + response
    return profiles


def _profiles(run: OpenRun, part: HeldOutPart, space: Coordinates, generated: FloatArray) -> LatentProfiles:
    held = part.held
    conditions = part.inputs.conditions.take(torch.from_numpy(first_units(part.inputs.units)))
    control = held.control.astype(np.float32)
    measured, predicted, untreated = (
        space.of(conditions, control, response)
        for response in (held.truth, generated, np.zeros_like(control))
    )
    title = run.predictor.bundle.title
    table = held.conditions.select(CONDITION_COLUMNS)
    kept = whole_perturbations(table, MOST_CONDITIONS)
    sides = [side[kept] for side in (measured, predicted, untreated)]
    return LatentProfiles(table[kept], sides[0], sides[1], sides[2], space.words, title)


def _paths(run: OpenRun, space: Coordinates, curves: list[Curve], seed: int) -> LatentPaths | None:
    """Return where the model goes along the strongest measured dose curves; None without any."""
    if not curves:
        return None
    table = dense_conditions(run.store.obs, curves)
    found = run.predictor.predict(table, seed=seed)
    conditions = run.predictor.encoder.encode(table)
    points, control = (
        space.of(conditions, found.basal, response) for response in (found.mean, np.zeros_like(found.basal))
    )
    shape = (len(curves), GRID_DOSES)
    return LatentPaths(
        names=tuple(f"{curve.name}, {curve.place}" for curve in curves),
        clusters=tuple(curve.pert_id for curve in curves),
        doses=table["pert_dose"].to_numpy().reshape(shape),
        points=points.reshape(*shape, -1),
        control=control.reshape(*shape, -1)[:, 0],
    )


def latent_space_of_run(run: Path, *, seed: int = 0, progress: ProgressCallback = no_progress) -> LatentSpace:
    """Find what the latent space of a run's model keeps of held-out cell lines, doses and times.

    Models without a latent space are looked at in 32 principal components of training profiles; the result
    says which space it is. Of more than 4,000 held-out conditions, those of evenly spaced perturbations.

    Parameters
    ----------
    run
        Folder of a finished run.
    seed
        Of the resampling, and of models that sample.
    progress
        Told of the training rows summed.

    Raises
    ------
    ConfigError
        There is no finished run.
    LeakageError
        Store or split are not those of the training.
    SchemaError
        Fewer than two held-out conditions can be predicted.
    """
    opened = open_run(run)
    statistics = statistics_of_run(opened, seed, progress)
    part = part_of_run(opened, statistics, seed)
    generated = forecast(opened.predictor.model, part.inputs.conditions, part.inputs).mean
    space = coordinates_of_run(opened, statistics)
    compared = ComparedResponses(
        conditions=part.held.conditions.select(CONDITION_COLUMNS),
        genes=part.held.genes,
        measured=part.held.truth,
        generated={"model": generated},
        control=part.held.control,
    )
    paths = _paths(opened, space, find_curves(compared)[:MOST_CURVES], seed)
    return latent_space(_profiles(opened, part, space, generated), paths, seed=seed)
