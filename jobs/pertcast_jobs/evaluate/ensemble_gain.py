"""What an ensemble gains over its members, judged one by one on the same held-out conditions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pertcast.evaluation.bootstrap import N_DRAWS, estimates
from pertcast.evaluation.from_store.contenders import forecast
from pertcast.evaluation.from_store.held_out_part import HeldOutPart
from pertcast.evaluation.metrics import PRIMARY_METRIC
from pertcast.evaluation.parts import EnsembleGain
from pertcast.evaluation.scores.pooled_boards import average_seeds
from pertcast.evaluation.scores.score_board import Contender, ScoreBoard
from pertcast.evaluation.trust.comparison import compare_boards
from pertcast.evaluation.trust.table import make_board
from pertcast.models.ensemble import EnsembleModel
from pertcast.predictor import Predictor


def ensemble_gain(
    predictor: Predictor, part: HeldOutPart, board: ScoreBoard, *, n_draws: int = N_DRAWS, seed: int = 0
) -> EnsembleGain | None:
    """Score every member beside the ensemble; None for one model.

    Parameters
    ----------
    predictor
        The model of `board`.
    part
        The held-out conditions.
    board
        The ensemble's scores.
    n_draws, seed
        Of the bootstrap: over held-out perturbations, and over members.
    """
    model = predictor.model
    if not isinstance(model, EnsembleModel):
        return None
    inputs = replace(part.inputs, wells=np.empty(0, dtype=np.int64))
    contender = Contender(board.model.name, board.model.title, "model")
    boards = [
        make_board(part.held, {contender.name: forecast(member, inputs.conditions, inputs).mean}, [contender])
        for member in model.models()
    ]
    seeds = [int(record["seed"]) for record in predictor.bundle.members.values()]
    members = average_seeds(boards, seeds)
    own = members.by_seed(contender.name, PRIMARY_METRIC)
    compared = compare_boards(("ensemble", "its members"), board, members, n_draws=n_draws, seed=seed)
    found = estimates(own.T, members.cluster, n_draws, seed)
    return EnsembleGain(
        metric=PRIMARY_METRIC,
        members=dict(zip(predictor.bundle.members, found, strict=True)),
        gain=compared.difference,
    )
