"""What simple rules say about the conditions of a truth file, fitted on a file of training cells.

The rules are those of `pertcast.models.baselines` that need no features, solved from condition means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from pertcast_data.errors import LeakageError, SchemaError
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.vocabulary import split_perturbation

from pertcast.evaluation.ceilings.ceiling import Ceilings, score_ceilings
from pertcast.evaluation.held_out import FloatArray, HeldOut, IndexArray
from pertcast.evaluation.other_tools.checks import named, require_controls
from pertcast.evaluation.other_tools.file import CellFile, group_means, open_cells
from pertcast.evaluation.other_tools.pair import AnndataPair
from pertcast.evaluation.scores.negative_controls import PERMUTED, permuted_labels
from pertcast.evaluation.scores.score_board import Contender

NO_CHANGE: Final = Contender("no_change", "No change", "baseline")
TRAIN_MEAN: Final = Contender("train_mean", "Mean training response", "baseline")
CONTEXT_MEAN: Final = Contender("context_mean", "Mean response of the context", "baseline")
ADDITIVE: Final = Contender("additive", "Sum of the measured singles", "baseline")
TRANSFERRED: Final = Contender("transferred_mean", "Same perturbation in other contexts", "baseline")

NEED_TRAINING: Final = (
    *("pearson_delta_pert", "r2_train_mean", "r2_train_mean_pooled", "retrieval_rank"),
    "weighted_r2_delta",
)
"""Metrics that are measured against the mean training response."""


@dataclass(frozen=True)
class TrainingMeans:
    """Mean responses of K training conditions, each against the controls of its context.

    Attributes
    ----------
    response
        (K, G) float64.
    members
        The single perturbations of each condition, sorted.
    context
        (K,) numbers of contexts as in the held-out pools; the training's further contexts follow.
    n_contexts
        Number of contexts of the held-out conditions.
    """

    response: FloatArray
    members: tuple[tuple[str, ...], ...]
    context: IndexArray
    n_contexts: int

    def context_means(self, chosen: IndexArray | None = None) -> FloatArray:
        """Return (C + 1, G) means over conditions (or the chosen ones) by held-out context, and over all."""
        rows = np.arange(len(self.response)) if chosen is None or not len(chosen) else chosen
        overall = self.response[rows].mean(axis=0)
        own = [rows[self.context[rows] == number] for number in range(self.n_contexts)]
        return np.stack([*(self.response[r].mean(axis=0) if len(r) else overall for r in own), overall])

    def look_up(self, members: tuple[str, ...], context: int) -> FloatArray | None:
        """Return the (G,) mean over trainings with these members: of the context, else of all; or None."""
        rows = self._rows.get(members)
        if rows is None:
            return None
        here = rows[self.context[rows] == context]
        found: FloatArray = self.response[here if len(here) else rows].mean(axis=0)
        return found

    @cached_property
    def _rows(self) -> dict[tuple[str, ...], IndexArray]:
        """Members -> their conditions."""
        found: dict[tuple[str, ...], list[int]] = {}
        for row, members in enumerate(self.members):
            found.setdefault(members, []).append(row)
        return {members: np.array(rows, dtype=np.int64) for members, rows in found.items()}

    def additive(self, held: list[tuple[str, ...]], pool: IndexArray) -> FloatArray:
        """Return (N, G) sums over members; one never measured alone counts as the mean single."""
        singles = np.flatnonzero([len(own) == 1 for own in self.members])
        fallback = self.context_means(singles)
        result = np.zeros((len(held), self.response.shape[1]))
        for row, (members, context) in enumerate(zip(held, pool.tolist(), strict=True)):
            for member in members:
                found = self.look_up((member,), context)
                result[row] += fallback[context] if found is None else found
        return result

    def transferred(self, held: list[tuple[str, ...]], pool: IndexArray) -> FloatArray:
        """Return (N, G) the same perturbation's response elsewhere, else the context's mean."""
        fallback = self.context_means()
        rows = []
        for members, context in zip(held, pool.tolist(), strict=True):
            found = self.look_up(members, context)
            rows.append(fallback[context] if found is None else found)
        return np.stack(rows)


def train_on(path: Path, pair: AnndataPair, progress: ProgressCallback = no_progress) -> TrainingMeans:
    """Measure the training conditions of an h5ad file with the columns of the pair.

    Raises
    ------
    LeakageError
        The file holds conditions of the truth.
    SchemaError
        It lacks a column, a gene that is scored, or conditions.
    ControlsMissing
        It has no controls in a context.
    """
    cells = open_cells(path, pair.columns, progress)
    require_controls(cells)
    _require_apart(cells, pair)
    lacking = sorted(set(pair.held.genes) - set(cells.genes))
    if lacking:
        raise SchemaError(
            f"{path} lacks {len(lacking):,} of the genes that are scored: {named(lacking)}. Write the "
            "training file with the genes of the truth."
        )
    labels = cells.labels
    staged = cells.stage(pair.held.genes, pair.target_total, progress)
    groups = np.where(labels.control_rows, labels.context_of_row, -1)
    controls = group_means(staged, groups, len(labels.contexts))
    own = np.searchsorted(labels.contexts, labels.conditions["cell_iname"].to_numpy())
    means = group_means(staged, labels.condition_of_row, labels.conditions.height)
    known = {name: number for number, name in enumerate(pair.contexts)}
    numbers = [known.get(name, len(known) + i) for i, name in enumerate(labels.contexts)]
    return TrainingMeans(
        response=means - controls[own],
        members=tuple(split_perturbation(name) for name in labels.conditions["pert_id"]),
        context=np.array(numbers, dtype=np.int64)[own],
        n_contexts=len(pair.contexts),
    )


def _require_apart(cells: CellFile, pair: AnndataPair) -> None:
    held = set(pair.held.conditions["condition_id"])
    both = sorted(held & set(cells.labels.conditions["condition_id"]))
    if both:
        raise LeakageError(
            f"{cells.path}: {len(both):,} of the {len(held):,} conditions of the truth are in the training "
            f"file as well: {named(both)}. Leave them out of it; controls may stand in both."
        )


def permuted(pair: AnndataPair, training: TrainingMeans | None, seed: int = 0) -> dict[Contender, FloatArray]:
    """Return the negative control: the predictions dealt to other perturbations; none where there is one."""
    if pair.held.n_clusters < 2:
        return {}
    held = with_no_change(pair.held) if training is None else with_training(pair.held, training)
    return {PERMUTED: permuted_labels(pair.prediction, held, seed)}


def baseline_predictions(pair: AnndataPair, training: TrainingMeans | None) -> dict[Contender, FloatArray]:
    """Return contender -> (N, G) float32 responses; without training data only "no change"."""
    held = pair.held
    found: dict[Contender, FloatArray] = {NO_CHANGE: np.zeros(held.truth.shape)}
    if training is not None:
        members = [split_perturbation(name) for name in held.conditions["pert_id"]]
        means = training.context_means()
        found[TRAIN_MEAN] = np.repeat(means[-1:], held.n_conditions, axis=0)
        if len(set(training.context.tolist()) | set(held.pool.tolist())) > 1:
            found[CONTEXT_MEAN] = means[held.pool]
            found[TRANSFERRED] = training.transferred(members, held.pool)
        if any(len(own) > 1 for own in members):
            found[ADDITIVE] = training.additive(members, held.pool)
    return {contender: response.astype(np.float32) for contender, response in found.items()}


def with_training(held: HeldOut, training: TrainingMeans) -> HeldOut:
    """Return the held-out conditions with the mean training response of their contexts."""
    means = training.context_means().astype(np.float32)
    return replace(held, train_perturbed_mean=means, train_mean_index=held.pool)


def with_no_change(held: HeldOut) -> HeldOut:
    """Return the held-out conditions with "no change" in the place of the training mean."""
    return replace(held, train_perturbed_mean=np.zeros((1, held.n_genes), dtype=np.float32))


def score_pair_ceilings(pair: AnndataPair, training: TrainingMeans | None, seed: int = 0) -> Ceilings:
    """Score what the truth's own cells reach.

    Without training data "no change" stands where a training mean is asked for (the centre that estimates
    are shrunk to, and the bottom of the dynamic range), and what is measured against that mean is undefined.
    """
    if training is not None:
        return score_ceilings(pair.responses, with_training(pair.held, training), seed)
    found = score_ceilings(pair.responses, with_no_change(pair.held), seed)
    return replace(
        found,
        scores={contender: _without_training(metrics) for contender, metrics in found.scores.items()},
        mean_on_halves=found.mean_on_halves and _without_training(found.mean_on_halves),
    )


def _without_training(scores: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    return {
        name: np.full_like(values, np.nan) if name in NEED_TRAINING else values
        for name, values in scores.items()
    }
