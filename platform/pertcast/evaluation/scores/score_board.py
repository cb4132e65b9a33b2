"""Scores of every contender on every held-out condition: what all tables and verdicts are made from.

Boards of one fold are scored here; `pooled_boards` stacks those of several folds and averages several seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np
import polars as pl

from pertcast.evaluation.held_out import FloatArray, HeldOut, IndexArray
from pertcast.evaluation.metrics import METRICS, Metric, get_metric, metrics_of_level

Role = Literal["model", "baseline", "control", "ceiling"]

CLUSTER: Final = "cluster"
EFFECT_SIZE: Final = "effect_size"
ORACLE: Final = "oracle"
"""The contender that is the noise-free truth itself, where it is known (a simulated atlas)."""


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
    seeds
        Training seeds that the scores are means over; empty for a single training.
    seed_scores
        Contender -> metric -> (S, N) values by seed, for the contenders that depend on the seed.
    cell_facts
        Contender -> column of `cell_scores.FACTS` -> (N,): what metrics over conditions are made from.
    amplitude
        Contender -> (N,) length of the predicted response over that of the measured one.
    """

    conditions: pl.DataFrame
    contenders: tuple[Contender, ...]
    scores: Mapping[str, Mapping[str, FloatArray]]
    well_cluster: tuple[str, ...] = ()
    well_scores: Mapping[str, Mapping[str, FloatArray]] | None = None
    mean_on_halves: Mapping[str, FloatArray] | None = None
    seeds: tuple[int, ...] = ()
    seed_scores: Mapping[str, Mapping[str, FloatArray]] = field(default_factory=dict)
    cell_facts: Mapping[str, Mapping[str, FloatArray]] = field(default_factory=dict)
    amplitude: Mapping[str, FloatArray] = field(default_factory=dict)

    @property
    def model(self) -> Contender:
        """The contender that is judged."""
        return next(c for c in self.contenders if c.role == "model")

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics of conditions and of cells that were scored, in registry order."""
        scored = self.scores[self.model.name]
        return tuple(m for m in METRICS.values() if m.level != "well" and m.name in scored)

    @property
    def n_seeds(self) -> int:
        """Number of trainings that the scores are means over."""
        return max(1, len(self.seeds))

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

    def with_scores(self, scores: Mapping[str, Mapping[str, FloatArray]]) -> ScoreBoard:
        """Return the same board with further metrics (N,) of some or all contenders; NaN for the others."""
        nothing = np.full(self.conditions.height, np.nan)
        names = dict.fromkeys(name for metrics in scores.values() for name in metrics)
        added = {
            who: {**metrics, **{name: scores.get(who, {}).get(name, nothing) for name in names}}
            for who, metrics in self.scores.items()
        }
        return replace(self, scores=added)

    def by_seed(self, contender: str, metric_name: str) -> FloatArray:
        """Return (S, N) scores by training seed; the same row for a contender that no seed changes."""
        if contender in self.seed_scores:
            return self.seed_scores[contender][metric_name]
        scores = self.scores[contender][metric_name]
        repeated: FloatArray = np.broadcast_to(scores, (self.n_seeds, len(scores)))
        return repeated

    def gain_by_seed(self, metric_name: str, over: str) -> FloatArray:
        """Return (S, N) by how much the model of each seed is better than `over`; see `gain`."""
        metric = get_metric(metric_name)
        model, other = (self.by_seed(name, metric_name) for name in (self.model.name, over))
        judged = [self.scores[c.name][metric_name] for c in self.of_role("model", "baseline", "control")]
        anyone = ~np.isnan(np.stack(judged)).all(axis=0)
        if metric.uninformative is not None:
            model, other = (np.where(np.isnan(v), metric.uninformative, v) for v in (model, other))
        gained: FloatArray = np.where(anyone, metric.sign * (model - other), np.nan)
        return gained

    def gain(self, metric_name: str, over: str) -> FloatArray:
        """Return (N,) by how much the model is better than `over`, positive where it is.

        Where only one of the two is undefined it counts as the metric's uninformative value, so that nothing
        is won by predicting a constant; a condition undefined for every contender is NaN. A mean over
        training seeds where there are several.
        """
        gained: FloatArray = self.gain_by_seed(metric_name, over).mean(axis=0)
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


def amplitudes(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """Return (N,) the length of each predicted response over the measured one's; NaN where that is 0."""
    predicted, measured = (
        np.sqrt(np.einsum("ij,ij->i", v, v, dtype=np.float64)) for v in (prediction, held.truth)
    )
    ratio: FloatArray = np.full(held.n_conditions, np.nan)
    np.divide(predicted, measured, out=ratio, where=measured > 0)
    return ratio


def condition_facts(held: HeldOut) -> pl.DataFrame:
    """Return the held-out table with `cluster` and `effect_size` added."""
    size = np.sqrt(np.einsum("ij,ij->i", held.truth, held.truth, dtype=np.float64) / held.n_genes)
    facts = held.conditions
    if CLUSTER not in facts.columns:
        facts = facts.with_columns(pl.Series(CLUSTER, [str(c) for c in held.cluster]))
    return facts.with_columns(pl.Series(EFFECT_SIZE, size))
