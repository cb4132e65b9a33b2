"""Two models on the same held-out conditions: a paired difference with its interval.

Resampled like everything else: by held-out perturbation, and over training seeds where there are several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from pertcast_data.errors import SchemaError

from pertcast.evaluation.bootstrap import N_DRAWS, Estimate, estimates_over_seeds
from pertcast.evaluation.held_out import FloatArray
from pertcast.evaluation.metrics import PRIMARY_METRIC, get_metric
from pertcast.evaluation.scores.score_board import CLUSTER, ScoreBoard
from pertcast.evaluation.trust.verdict import ALPHA, FEWEST_CLUSTERS, p_words


@dataclass(frozen=True)
class Comparison:
    """The model of one board minus the model of another.

    Attributes
    ----------
    first, second
        Names of the evaluations.
    metric
        What is compared.
    difference
        First minus second, positive where the first is better; its p value is not corrected.
    n_conditions, n_perturbations
        What both were judged on.
    n_comparisons
        How many pairs were compared together: the words are corrected for them (Bonferroni).
    """

    first: str
    second: str
    metric: str
    difference: Estimate
    n_conditions: int
    n_perturbations: int
    n_comparisons: int = 1

    @property
    def p_value(self) -> float:
        """The p value, corrected for the number of comparisons."""
        return min(1.0, self.difference.p_value * self.n_comparisons)

    @property
    def text(self) -> str:
        """One sentence."""
        found = self.difference
        gap = f"{self.metric} {found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
        if self.n_perturbations < FEWEST_CLUSTERS:
            return (
                f"{self.first} is not distinguishable from {self.second} (only {self.n_perturbations} "
                f"held-out perturbations: too few to tell; {gap})"
            )
        told = f"({p_words(self.p_value)}; {gap}, {self.n_conditions:,} conditions)"
        if self.p_value < ALPHA and (found.low > 0 or found.high < 0):
            return f"{self.first} is {'better' if found.low > 0 else 'worse'} than {self.second} {told}"
        return f"{self.first} is not distinguishable from {self.second} {told}"


def _scores(board: ScoreBoard, metric: str, names: Sequence[str]) -> FloatArray:
    """Return the (S, M) scores of a board's model on the named conditions."""
    row = {name: i for i, name in enumerate(board.conditions["condition_id"].to_list())}
    return board.by_seed(board.model.name, metric)[:, [row[name] for name in names]]


def _paired(first: FloatArray, second: FloatArray, metric_name: str) -> FloatArray:
    """Return (S, M) first minus second, seed by seed; a single seed stands beside each of several."""
    metric = get_metric(metric_name)
    nobody = np.isnan(first).all(axis=0) & np.isnan(second).all(axis=0)
    if metric.uninformative is not None:
        first, second = (np.where(np.isnan(v), metric.uninformative, v) for v in (first, second))
    if len(first) != len(second) and min(len(first), len(second)) > 1:
        first, second = (v.mean(axis=0, keepdims=True) for v in (first, second))
    difference: FloatArray = np.where(nobody, np.nan, metric.sign * (first - second))
    return difference


def compare_boards(
    names: tuple[str, str],
    first: ScoreBoard,
    second: ScoreBoard,
    *,
    metric: str = PRIMARY_METRIC,
    n_draws: int = N_DRAWS,
    seed: int = 0,
    n_comparisons: int = 1,
) -> Comparison:
    """Compare the models of two boards on the conditions that both were judged on.

    Raises
    ------
    SchemaError
        They share no condition.
    """
    judged = set(second.conditions["condition_id"].to_list())
    shared = [name for name in first.conditions["condition_id"].to_list() if name in judged]
    if not shared:
        raise SchemaError(
            f"{names[0]} and {names[1]} were judged on different conditions; compare runs of one fold of "
            "one split."
        )
    chosen = first.conditions.filter(pl.col("condition_id").is_in(shared))
    labels = np.unique(chosen[CLUSTER].to_numpy(), return_inverse=True)[1].astype(np.int64)
    gained = _paired(_scores(first, metric, shared), _scores(second, metric, shared), metric)
    (difference,) = estimates_over_seeds(gained[:, :, None], labels, n_draws, seed)
    return Comparison(
        *names, metric, difference, len(shared), int(labels.max()) + 1, n_comparisons=n_comparisons
    )
