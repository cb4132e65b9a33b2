"""Metrics over conditions: whether strong perturbations are predicted to be strong, a number a contender."""

from __future__ import annotations

from typing import Final

import numpy as np

from pertcast.evaluation.bootstrap import Estimate, cluster_draws, estimate_of
from pertcast.evaluation.metrics.across import ACROSS
from pertcast.evaluation.scores.score_board import ScoreBoard

MOST_DRAWS: Final = 200
"""Each draw computes a correlation anew for every contender."""


def across_estimates(board: ScoreBoard, n_draws: int, seed: int = 0) -> dict[str, dict[str, Estimate]]:
    """Return contender -> metric of `ACROSS` -> estimate, resampled by held-out perturbation.

    Parameters
    ----------
    board
        Its `cell_facts` are scored; a board without them gives nothing.
    n_draws, seed
        Of the bootstrap; at most 200 draws are made.
    """
    if not board.cell_facts:
        return {}
    cluster = board.cluster
    draws = cluster_draws(int(cluster.max()) + 1, min(n_draws, MOST_DRAWS), seed)
    rows = [np.repeat(np.arange(len(cluster)), counts[cluster]) for counts in draws]
    found: dict[str, dict[str, Estimate]] = {}
    for who, facts in board.cell_facts.items():
        n_known = int((~np.isnan(np.stack(list(facts.values()))).any(axis=0)).sum())
        found[who] = {
            name: estimate_of(
                metric.score(facts),
                np.array(
                    [metric.score({key: column[drawn] for key, column in facts.items()}) for drawn in rows]
                ),
                n_known,
            )
            for name, metric in ACROSS.items()
        }
    return found
