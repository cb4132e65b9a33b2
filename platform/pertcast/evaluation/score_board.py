"""Scores of every contender on every held-out condition: what all tables and verdicts are made from.

Boards of several folds of one split are pooled by stacking them: each condition was held out once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import polars as pl
from pertcast_data.errors import SchemaError

from pertcast.evaluation.held_out import FloatArray, HeldOut, IndexArray
from pertcast.evaluation.metrics import Metric, get_metric, metrics_of_level

Role = Literal["model", "baseline", "control", "ceiling"]

CLUSTER: Final = "cluster"
EFFECT_SIZE: Final = "effect_size"


@dataclass(frozen=True, slots=True)
class Contender:
    """One row of the trust table.

    Attributes
    ----------
    name
        Unique word.
    title
        What people read.
    role
        "model" (what is judged), "baseline" (what it must beat), "control" (negative control: the model
        with its input taken away) or "ceiling" (what replicates reach).
    """

    name: str
    title: str
    role: Role


@dataclass(frozen=True)
class ScoreBoard:
    """Scores of K contenders on N conditions, and on M wells where profiles are scored one by one.

    Attributes
    ----------
    conditions
        N rows: `condition_id`, `cluster` (the held-out perturbation), `effect_size` (root mean square of the
        true response) and whatever the held-out table carries.
    contenders
        The rows, the model first.
    scores
        Contender -> metric -> (N,) values, NaN where undefined.
    well_cluster
        (M,) the held-out perturbation of each scored well.
    well_scores
        Contender -> metric -> (M,) values; empty where wells are not scored.
    mean_on_halves
        Metric -> (N,) scores of the training mean against the half truth that the ceiling is scored on.
    """

    conditions: pl.DataFrame
    contenders: tuple[Contender, ...]
    scores: Mapping[str, Mapping[str, FloatArray]]
    well_cluster: tuple[str, ...] = ()
    well_scores: Mapping[str, Mapping[str, FloatArray]] | None = None
    mean_on_halves: Mapping[str, FloatArray] | None = None

    @property
    def model(self) -> Contender:
        """The contender that is judged."""
        return next(c for c in self.contenders if c.role == "model")

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The condition metrics that were scored, in registry order."""
        scored = self.scores[self.model.name]
        return tuple(metric for metric in metrics_of_level("condition") if metric.name in scored)

    @property
    def cluster(self) -> IndexArray:
        """(N,) number of each condition's held-out perturbation."""
        labels = self.conditions[CLUSTER].to_numpy()
        return np.unique(labels, return_inverse=True)[1].astype(np.int64)

    def of_role(self, *roles: Role) -> tuple[Contender, ...]:
        """Return the contenders of the given roles, in order."""
        return tuple(c for c in self.contenders if c.role in roles)

    def with_wells(
        self, well_cluster: tuple[str, ...], well_scores: Mapping[str, Mapping[str, FloatArray]]
    ) -> ScoreBoard:
        """Return the same board with scores of single wells."""
        return replace(self, well_cluster=well_cluster, well_scores=well_scores)

    def gain(self, metric_name: str, over: str) -> FloatArray:
        """Return (N,) by how much the model is better than `over`, positive where it is.

        Where only one of the two is undefined it counts as the metric's uninformative value, so that nothing
        is won by predicting a constant; a condition undefined for every contender is NaN.
        """
        metric = get_metric(metric_name)
        model, other = (self.scores[name][metric_name] for name in (self.model.name, over))
        judged = [self.scores[c.name][metric_name] for c in self.of_role("model", "baseline", "control")]
        anyone = ~np.isnan(np.stack(judged)).all(axis=0)
        if metric.uninformative is not None:
            model, other = (np.where(np.isnan(v), metric.uninformative, v) for v in (model, other))
        gained: FloatArray = np.where(anyone, metric.sign * (model - other), np.nan)
        return gained


def score_conditions(
    prediction: FloatArray, held: HeldOut, name: str = "prediction", metrics: Sequence[Metric] | None = None
) -> dict[str, FloatArray]:
    """Score one prediction (N, G) with every condition metric (or those given): metric -> (N,)."""
    held.check_prediction(name, prediction)
    chosen = metrics_of_level("condition") if metrics is None else metrics
    return {metric.name: metric.score(prediction, held) for metric in chosen}


def score_wells(prediction: FloatArray, profiles: FloatArray) -> dict[str, FloatArray]:
    """Score absolute profiles (M, G) one by one with every well metric: metric -> (M,)."""
    return {metric.name: metric.score(prediction, profiles) for metric in metrics_of_level("well")}


def condition_facts(held: HeldOut) -> pl.DataFrame:
    """Return the held-out table with `cluster` and `effect_size` added."""
    size = np.sqrt(np.einsum("ij,ij->i", held.truth, held.truth, dtype=np.float64) / held.n_genes)
    facts = held.conditions
    if CLUSTER not in facts.columns:
        facts = facts.with_columns(pl.Series(CLUSTER, [str(c) for c in held.cluster]))
    return facts.with_columns(pl.Series(EFFECT_SIZE, size))


def _stack(parts: Sequence[Mapping[str, Mapping[str, FloatArray]]]) -> dict[str, dict[str, FloatArray]]:
    return {
        contender: {name: np.concatenate([part[contender][name] for part in parts]) for name in metrics}
        for contender, metrics in parts[0].items()
        if all(contender in part for part in parts)
    }


def pool_boards(boards: Sequence[ScoreBoard]) -> ScoreBoard:
    """Stack the boards of disjoint folds into one; contenders that a board lacks are left out.

    Raises
    ------
    SchemaError
        Where a condition is held out in two boards: it would count twice.
    """
    conditions = pl.concat([board.conditions for board in boards], how="diagonal_relaxed")
    doubled = conditions.filter(conditions["condition_id"].is_duplicated())
    if doubled.height:
        raise SchemaError(
            f"Condition {doubled['condition_id'][0]!r} is held out in more than one of the pooled runs; "
            "pool runs of different folds of one split only."
        )
    scores = _stack([board.scores for board in boards])
    wells = [board.well_scores for board in boards if board.well_scores]
    halves = [board.mean_on_halves for board in boards if board.mean_on_halves]
    all_have_halves = len(halves) == len(boards)
    return ScoreBoard(
        conditions=conditions,
        contenders=tuple(c for c in boards[0].contenders if c.name in scores),
        scores=scores,
        well_cluster=tuple(label for board in boards for label in board.well_cluster),
        well_scores=_stack(wells) if len(wells) == len(boards) else None,
        mean_on_halves=_stack([{"mean": half} for half in halves])["mean"] if all_have_halves else None,
    )
