"""Metrics that do not look at the direction of a response, and a warning where only they look good."""

from __future__ import annotations

from typing import Final

import numpy as np

from pertcast.evaluation.bootstrap import estimates
from pertcast.evaluation.metrics import METRICS
from pertcast.evaluation.scores.score_board import ScoreBoard

_LISTS: Final = ("N", "50", "100", "200")
_N_DRAWS: Final = 1000

SIGN_BLIND: Final = (
    *(f"responders_overlap_at_{k}" for k in _LISTS),
    "responders_roc_auc",
    "responders_pr_auc",
    *(f"overlap_at_{k}" for k in _LISTS),
    *(f"precision_at_{k}" for k in _LISTS),
    "de_sig_genes_recall",
    "roc_auc",
    "pr_auc",
)
"""Metrics that ask which genes respond and not where to: the opposite of the truth scores like the truth."""


def opposite_notes(board: ScoreBoard) -> list[str]:
    """Say so where the model's responses point away from the measured ones while such metrics are shown."""
    scores = board.scores[board.model.name]
    shown = [name for name in SIGN_BLIND if name in scores and not np.isnan(scores[name]).all()]
    direction = scores.get("pearson_delta")
    if direction is None or np.isnan(direction).all() or not shown:
        return []
    found = estimates(direction[:, None], board.cluster, _N_DRAWS)[0]
    if not found.high < 0:
        return []
    titles = ", ".join(METRICS[name].name for name in shown)
    return [
        f"The predicted responses point away from the measured ones (pearson_delta {found.mean:.3f}). These "
        f"metrics do not look at the direction and say nothing for the model here: {titles}."
    ]
