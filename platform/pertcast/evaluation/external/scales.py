"""What may be compared where two stores measure on different scales."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from pertcast_data.store import ExpressionStore

from pertcast.evaluation.held_out import FloatArray
from pertcast.evaluation.scores.score_board import ScoreBoard
from pertcast.predictor import Predictor

PRIMARY: Final = "spearman_delta"
"""What verdicts on external stores are about, decided beforehand: it needs no common scale."""

SCALE_BOUND: Final = frozenset(
    {
        "r2",
        "mse",
        "rmse",
        "mae",
        "weighted_mse",
        "weighted_r2_delta",
        "pearson_delta_pert",
        "r2_train_mean",
        "r2_train_mean_pooled",
        "retrieval_rank",
        "centroid_accuracy",
        "discrimination_l1",
        "discrimination_l2",
        "rank",
        "normalised_inverse_rank",
    }
)
"""Metrics that compare magnitudes: of no meaning where two stores measure on different scales."""


def same_scale(store: ExpressionStore, predictor: Predictor) -> bool:
    """Whether the store's responses have the measure and normalisation that the model was trained on."""
    facts = predictor.bundle.facts
    return (store.measure, store.normalisation) == (facts.measure, facts.normalisation)


def comparable(board: ScoreBoard) -> ScoreBoard:
    """Return the board without the metrics that compare magnitudes."""

    def kept(scores: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        return {name: values for name, values in scores.items() if name not in SCALE_BOUND}

    halves = board.mean_on_halves
    return replace(
        board,
        scores={who: kept(scores) for who, scores in board.scores.items()},
        mean_on_halves=None if halves is None else kept(halves),
        amplitude={},
    )
