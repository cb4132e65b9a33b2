"""Kinds of conditions with everybody's scores on them, side by side.

The gain by stratum says where the model wins over one baseline; these say what everybody reaches there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast.evaluation.bootstrap import Estimate, estimates_over_seeds
from pertcast.evaluation.scores.score_board import CLUSTER, ScoreBoard

ContenderScores = Mapping[str, Mapping[str, Estimate]]
"""Contender -> metric -> mean with its interval."""


@dataclass(frozen=True, slots=True)
class ScoredStratum:
    """Held-out conditions of one kind.

    Attributes
    ----------
    name
        "single, unseen", "knockdown".
    n_conditions, n_perturbations
        What the means are over.
    scores
        Contender -> metric -> mean with its interval.
    """

    name: str
    n_conditions: int
    n_perturbations: int
    scores: ContenderScores


def stratum_scores(
    board: ScoreBoard, chosen: NDArray[np.bool_], n_draws: int, seed: int
) -> dict[str, dict[str, Estimate]]:
    """Return the means of every contender and metric over the conditions where `chosen` (N,) is true."""
    everyone, names = [c.name for c in board.contenders], [metric.name for metric in board.metrics]
    columns = np.stack([board.by_seed(who, name)[:, chosen] for who in everyone for name in names], axis=2)
    found = iter(estimates_over_seeds(columns, board.cluster[chosen], n_draws, seed))
    return {who: {name: next(found) for name in names} for who in everyone}


def n_perturbations(board: ScoreBoard, chosen: NDArray[np.bool_]) -> int:
    """Return how many perturbations the chosen conditions hold."""
    return board.conditions.filter(pl.Series(chosen))[CLUSTER].n_unique()
