"""The contenders of an evaluation: baselines fitted on the training rows, and everybody's forecasts.

All baselines are solved from one pass of sums over the training rows; models are known by the
contract only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from pertcast_data.errors import ConfigError
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.store import RowReader
from torch import Tensor

from pertcast.evaluation.from_store.noise_keys import keyed_by_row
from pertcast.evaluation.from_store.store_truth import read_blocks
from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.scores.score_board import Contender, score_wells
from pertcast.evaluation.units import Units
from pertcast.models.baselines.statistics import ConditionMeansStage, ConditionStatistics
from pertcast.models.batch import ConditionBatch, ModelSpace, Prediction
from pertcast.models.contract import ModelEntry, ResponseModel, StatisticsStage
from pertcast.models.noise import KeyedNoise
from pertcast.models.registry import baselines_for
from pertcast.training.data import BatchSource
from pertcast.training.statistics import collect_sums

PREDICT_UNITS: Final = 256


@dataclass(frozen=True)
class FittedBaseline:
    """A baseline, solved."""

    contender: Contender
    model: ResponseModel


class SharedSums:
    """Sums over the training rows by stage name, each collected in one pass when it is first asked for.

    Parameters
    ----------
    source
        The training rows, once each, unshuffled.
    progress
        Told of the rows done.
    """

    def __init__(self, source: BatchSource, progress: ProgressCallback = no_progress) -> None:
        self._source = source
        self._progress = progress
        self._sums: dict[str, dict[str, Tensor]] = {}

    def of(self, stage: StatisticsStage) -> dict[str, Tensor]:
        """Return the sums of a stage; stages of one name take the same sums."""
        if stage.name not in self._sums:
            total, done = self._source.n_rows, 0

            def on_batch(_batches: int, rows: int) -> None:
                nonlocal done
                done += rows
                self._progress(done, total, "training rows, for the baselines")

            self._sums[stage.name] = collect_sums(stage, self._source, torch.device("cpu"), on_batch)
        return self._sums[stage.name]

    def statistics(self, space: ModelSpace) -> ConditionStatistics:
        """Return the sums that all baselines are solved from."""
        return ConditionStatistics(**self.of(ConditionMeansStage(space, lambda _: None)))


def solve(
    entry: ModelEntry, space: ModelSpace, conditions: ConditionBatch, sums: SharedSums
) -> ResponseModel:
    """Build a baseline with its default configuration and solve its stages in order.

    Raises
    ------
    ConfigError
        A stage is trained by gradients: such a model is no baseline that evaluation can fit.
    """
    model = entry.build({}, space, conditions)
    for stage in model.stages():
        if not isinstance(stage, StatisticsStage):
            raise ConfigError(
                f"Baseline {entry.name!r} trains by gradients (stage {stage.name!r}); train it as a run and "
                "evaluate that."
            )
        stage.finish(sums.of(stage))
    return model.eval()


def fit_baselines(
    space: ModelSpace, conditions: ConditionBatch, sums: SharedSums, leave_out: str = ""
) -> list[FittedBaseline]:
    """Fit every baseline that applies to the training store, in registry order, except `leave_out`."""
    return [
        FittedBaseline(Contender(entry.name, entry.title, "baseline"), solve(entry, space, conditions, sums))
        for entry in baselines_for(space)
        if entry.name != leave_out
    ]


def without_information(conditions: ConditionBatch, seed: int = 0) -> dict[Contender, ConditionBatch]:
    """Return the negative controls: the same conditions with perturbation features shuffled, and zeroed.

    Every perturbation gets another one's features when they are shuffled; with fewer than two perturbations,
    or without features, there is nothing to take away.
    """
    features = conditions.features
    if features.shape[1] == 0 or features.shape[0] < 2:
        return {}
    order = np.random.default_rng(seed).permutation(features.shape[0])
    source = np.empty_like(order)
    source[order] = np.roll(order, 1)
    return {
        Contender("features_shuffled", "Features shuffled", "control"): conditions.with_features(
            features[torch.from_numpy(source)]
        ),
        Contender("features_zeroed", "Features zeroed", "control"): conditions.with_features(
            torch.zeros_like(features)
        ),
    }


@dataclass(frozen=True)
class HeldOutInputs:
    """What every contender is given for the held-out units.

    Attributes
    ----------
    units
        The held-out rows as units.
    conditions
        The U units, encoded.
    control_means
        (n_groups, G) or None for measure "response".
    wells
        (W,) positions in `units.rows` of the profiles that are scored one by one; empty for none.
    reader
        Reads them.
    """

    units: Units
    conditions: ConditionBatch
    control_means: FloatArray | None
    wells: IndexArray
    reader: RowReader


@dataclass(frozen=True)
class Forecast:
    """What one contender says about N held-out conditions.

    Attributes
    ----------
    mean
        (N, G) float32 mean responses.
    well_scores
        Metric -> (W,) scores of single wells.
    sd
        (N, G) float32 sd of single profiles around `mean` (root mean square over a condition's rows), or
        None where the contender states none.
    sd_between
        (N, G) float32 part of `sd` that the members of an ensemble disagree on, which no number of replicates
        averages away; None for one model.
    """

    mean: FloatArray
    well_scores: dict[str, FloatArray]
    sd: FloatArray | None = None
    sd_between: FloatArray | None = None


@torch.no_grad()
def _predict_blocks(
    model: ResponseModel, conditions: ConditionBatch, inputs: HeldOutInputs
) -> Iterator[tuple[slice, FloatArray, Prediction]]:
    """Yield (units, their controls (B, G), what is predicted for them)."""
    n_genes = model.space.n_genes
    for units in read_blocks(inputs.units.n_units, PREDICT_UNITS):
        controls = inputs.units.controls(inputs.control_means, units, n_genes)
        index = torch.arange(units.start, units.stop)
        basal = torch.from_numpy(np.ascontiguousarray(controls, dtype=np.float32))
        yield units, controls, model.predict(conditions.take(index), basal)


def forecast(model: ResponseModel, conditions: ConditionBatch, inputs: HeldOutInputs) -> Forecast:
    """Predict every held-out unit, average by condition, and score the wells on the way.

    Parameters
    ----------
    model
        On the CPU.
    conditions
        The U units as the model shall see them (possibly with features taken away).
    inputs
        Units, controls and wells.
    """
    units = inputs.units
    sums, squares, between = (np.zeros((units.n_conditions, model.space.n_genes)) for _ in range(3))
    has_sd = has_members = True
    unit_of_well = units.unit_of_row[inputs.wells]
    scores: list[dict[str, FloatArray]] = []
    for block, controls, found in _predict_blocks(model, conditions, inputs):
        predicted = found.mean.numpy()
        units.average(block, predicted, sums)
        has_sd = has_sd and found.sd is not None
        if found.sd is not None:
            units.average(block, np.square(found.sd.numpy()), squares)
        has_members = has_members and found.sd_between is not None
        if found.sd_between is not None:
            units.average(block, np.square(found.sd_between.numpy()), between)
        inside = np.flatnonzero((unit_of_well >= block.start) & (unit_of_well < block.stop))
        for part in read_blocks(len(inside)):
            wells = inside[part]
            place = unit_of_well[wells] - block.start
            profiles = inputs.reader.dense(units.rows[inputs.wells[wells]])
            scores.append(score_wells(controls[place] + predicted[place], profiles))
    well_scores = (
        {name: np.concatenate([part[name] for part in scores]) for name in scores[0]} if scores else {}
    )
    sd = np.sqrt(squares).astype(np.float32) if has_sd else None
    disagreement = np.sqrt(between).astype(np.float32) if has_members else None
    return Forecast(sums.astype(np.float32), well_scores, sd, disagreement)


@torch.no_grad()
def sample_cells(
    model: ResponseModel,
    conditions: ConditionBatch,
    inputs: HeldOutInputs,
    condition: int,
    n_cells: int,
    seed: int = 0,
) -> FloatArray:
    """Return about `n_cells` sampled profiles (k, G) of a held-out condition, absolute, no value below 0.

    Parameters
    ----------
    model
        One whose samples are profiles (`samples_profiles`).
    conditions
        The U units as the model shall see them.
    inputs
        Units and controls.
    condition
        0..N-1. Each of its units gives as many samples as its share of the rows, at least one.
    n_cells
        How many are wanted.
    seed
        Of the samples, keyed by condition and unit: the same condition gets other noise on another plate.

    Raises
    ------
    ConfigError
        The model gives no samples.
    """
    units = np.flatnonzero(inputs.units.condition == condition)
    rows = inputs.units.n_rows[units]
    wanted = np.maximum(1, np.round(n_cells * rows / rows.sum())).astype(np.int64)
    first = inputs.units.rows[np.searchsorted(inputs.units.unit_of_row, units)]
    keyed = keyed_by_row(conditions.take(torch.from_numpy(units)), first)
    parts = []
    for number, (unit, count) in enumerate(zip(units, wanted, strict=True)):
        place = slice(int(unit), int(unit) + 1)
        controls = inputs.units.controls(inputs.control_means, place, model.space.n_genes)
        basal = torch.from_numpy(np.ascontiguousarray(controls, dtype=np.float32))
        asked = keyed.take(torch.tensor([number]))
        found = model.predict(asked, basal, n_samples=int(count), noise=KeyedNoise(seed)).samples
        if found is None:
            raise ConfigError(f"{type(model).__name__} says that it samples profiles, and gave no samples.")
        parts.append(controls + found[0].numpy())
    cells: FloatArray = np.maximum(np.concatenate(parts), 0.0).astype(np.float32)
    return cells
