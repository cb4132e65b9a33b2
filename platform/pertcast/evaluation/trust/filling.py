"""What stands beside a trust table, made from its scores, predictions and uncertainties.

Each part is computed by its own module; here is decided what there is to compute it from.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import polars as pl

from pertcast.evaluation.ceilings.ceiling import CEILING_OF_SKILL
from pertcast.evaluation.ceilings.skill import skills
from pertcast.evaluation.parts import Calibration, ErrorCurve, SeedSpread, TrustParts
from pertcast.evaluation.scores.score_board import ORACLE, ScoreBoard
from pertcast.evaluation.structure.gene_correlation import gene_correlation
from pertcast.evaluation.trust.evidence import Evidence
from pertcast.evaluation.trust.shown import show_conditions
from pertcast.evaluation.uncertainty.calibration import pool_calibrations
from pertcast.evaluation.uncertainty.error_curve import error_curve

DISTANCE: Final = "nn_train_dist"


def fill_parts(
    parts: TrustParts,
    board: ScoreBoard,
    primary: str,
    baseline: str | None,
    evidence: Evidence | None,
    *,
    n_draws: int,
    seed: int,
) -> TrustParts:
    """Add to `parts` what follows from scores and predictions.

    Parameters
    ----------
    parts
        What was found elsewhere (counts, false hits, gene function); kept.
    board
        Scores.
    primary
        The metric of the verdict.
    baseline
        The strongest baseline by it, or None.
    evidence
        Truth, predictions and uncertainties over the board's conditions; None where only scores are known.
    n_draws, seed
        Of the bootstrap.
    """
    ceiling = ORACLE if ORACLE in board.scores else CEILING_OF_SKILL
    found = replace(parts, skill=skills(board, ceiling, n_draws, seed), seeds=_seed_spread(board, primary))
    if baseline is not None:
        found = replace(found, error_curve=_error_curve(board, primary, baseline, n_draws, seed))
    if evidence is None:
        return found
    found = replace(found, genes=evidence.held.genes, calibration=_calibration(evidence, n_draws, seed))
    if baseline is None or baseline not in evidence.predictions:
        return found
    names = (board.model.name, baseline)
    predictions = {name: evidence.predictions[name] for name in names}
    return replace(
        found,
        shown=show_conditions(evidence, board, primary, baseline),
        correlation=gene_correlation(evidence.held, predictions, names, evidence.halves, seed),
    )


def _seed_spread(board: ScoreBoard, primary: str) -> SeedSpread | None:
    if board.n_seeds < 2:
        return None
    means = {
        who: np.nanmean(scores[primary], axis=1)
        for who, scores in board.seed_scores.items()
        if not np.isnan(scores[primary]).all(axis=1).any()
    }
    return SeedSpread(board.seeds, means)


def _error_curve(
    board: ScoreBoard, primary: str, baseline: str, n_draws: int, seed: int
) -> ErrorCurve | None:
    squared = board.scores[board.model.name].get("mse")
    if DISTANCE not in board.conditions.columns or squared is None:
        return None
    distance = board.conditions[DISTANCE].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return error_curve(
        distance, np.sqrt(squared), board, baseline, metric=primary, n_draws=n_draws, seed=seed
    )


def _calibration(evidence: Evidence, n_draws: int, seed: int) -> Calibration | None:
    stated = evidence.uncertainty
    if stated is None:
        return None
    return pool_calibrations(
        stated.judged,
        exchangeable=stated.is_exchangeable,
        remarks=stated.remarks,
        n_draws=n_draws,
        seed=seed,
    )
