"""Held-out conditions drawn gene by gene: where the model gains most, and where it loses most."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from pertcast.evaluation.parts import ShownCondition
from pertcast.evaluation.scores.score_board import ScoreBoard
from pertcast.evaluation.trust.evidence import Evidence
from pertcast.naming import condition_name

N_SHOWN: Final = 3


def condition_titles(conditions: pl.DataFrame) -> list[str]:
    """Return names for people where the table tells enough, else the ids."""
    if {"pert_id", "pert_type", "cell_iname"} <= set(conditions.columns):
        return [condition_name(row) for row in conditions.iter_rows(named=True)]
    return [str(name) for name in conditions["condition_id"]]


def show_conditions(
    evidence: Evidence, board: ScoreBoard, metric: str, baseline: str, most: int = N_SHOWN
) -> tuple[ShownCondition, ...]:
    """Return the conditions with the largest gain over `baseline`, then those with the largest loss.

    Parameters
    ----------
    evidence
        Holds the predictions of the model and of the baseline, over the board's conditions.
    board
        Scores.
    metric
        By whose gain conditions are ranked; ties in the order of the conditions.
    baseline
        A contender.
    most
        Conditions shown of each kind, fewer where there are fewer than twice as many.
    """
    gain = board.gain(metric, baseline)
    ranked = np.argsort(-gain, kind="stable")
    ranked = ranked[~np.isnan(gain[ranked])]
    each = min(most, len(ranked) // 2)
    names = condition_titles(board.conditions)
    chosen = [*(("best", i) for i in ranked[:each]), *(("worst", i) for i in ranked[::-1][:each])]
    return tuple(
        ShownCondition(
            condition_id=str(board.conditions["condition_id"][int(i)]),
            name=names[i],
            rank=rank,
            truth=evidence.held.truth[i],
            model=evidence.predictions[board.model.name][i],
            baseline=evidence.predictions[baseline][i],
            scores={
                "model": float(board.scores[board.model.name][metric][i]),
                "baseline": float(board.scores[baseline][metric][i]),
            },
        )
        for rank, i in chosen
    )
