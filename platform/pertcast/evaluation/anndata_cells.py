"""Metrics of cells for a pair of h5ad files: prediction, rules beside it, and the truth's own halves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast.evaluation.anndata_pair import AnndataPair
from pertcast.evaluation.ceiling import SPLIT_HALF
from pertcast.evaluation.cell_scores import CellScores, compare_cells
from pertcast.evaluation.differential import cell_tests
from pertcast.evaluation.held_out import FloatArray, GeneTests
from pertcast.evaluation.metrics.across import ACROSS
from pertcast.evaluation.score_board import Contender
from pertcast.evaluation.store_cells import ShiftedControls
from pertcast.evaluation.text import decimal


@dataclass(frozen=True)
class PairCellScores:
    """Scores of cells by contender.

    Attributes
    ----------
    scores
        Contender -> metric of level "cells" -> (N,).
    across
        Contender -> metric over conditions -> value.
    remarks
        Sentences about what was thinned out or made up.
    """

    scores: Mapping[str, Mapping[str, FloatArray]]
    across: Mapping[str, Mapping[str, float]]
    remarks: tuple[str, ...]


def tests_of_cells(pair: AnndataPair, progress: ProgressCallback = no_progress) -> GeneTests | None:
    """Test the truth's cells against its controls; None where it has one profile a condition."""
    if pair.held.conditions["n_rows"].max() == 1:
        return None
    return cell_tests(pair.measured, progress)


def score_pair_cells(
    pair: AnndataPair,
    rules: Mapping[Contender, FloatArray],
    *,
    model: str,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
) -> PairCellScores | None:
    """Score predicted cells; rules, which have means only, move the control cells; halves are each other's.

    Parameters
    ----------
    pair
        Prediction and truth, whose genes were tested.
    rules
        Contender -> (N, G) responses.
    model
        The prediction's name on the board.
    seed
        Draws control cells, and the cells that distances are taken over.
    progress
        Told of the conditions done.

    Returns
    -------
    PairCellScores or None
        None where the prediction, or the truth, has one profile a condition.
    """
    tests = pair.held.tests
    if pair.predicted is None or tests is None:
        return None
    found = {model: compare_cells(pair.measured, pair.predicted, tests, seed=seed, progress=progress)}
    for rule, response in rules.items():
        moved = ShiftedControls(pair.measured, response, seed)
        found[rule.name] = compare_cells(pair.measured, moved, tests, seed=seed, progress=progress)
    scores = {name: dict(cells.scores) for name, cells in found.items()}
    if len(pair.responses.halves.index):
        scores[SPLIT_HALF.name] = _score_halves(pair, seed, progress)
    return PairCellScores(
        scores=scores,
        across={name: _across(cells) for name, cells in found.items()},
        remarks=(
            *found[model].remarks,
            "Rules predict means alone: as their cells stand control cells, moved by the predicted response.",
        ),
    )


def _across(cells: CellScores) -> dict[str, float]:
    return {name: metric.score(cells.facts) for name, metric in ACROSS.items()}


def across_remark(cells: PairCellScores, contenders: Sequence[Contender]) -> str:
    """Return a sentence with the metrics over conditions of every contender."""
    parts = []
    for name, metric in ACROSS.items():
        values = (f"{c.title} {decimal(cells.across[c.name][name])}" for c in contenders)
        parts.append(f"{name} ({metric.title}): {', '.join(values)}")
    return f"Over conditions, {'; '.join(parts)}."


def _score_halves(pair: AnndataPair, seed: int, progress: ProgressCallback) -> dict[str, FloatArray]:
    index = pair.responses.halves.index
    first, second = pair.halves_of_cells
    found = compare_cells(second, first, cell_tests(second, progress), seed=seed, progress=progress)
    spread = {name: np.full(pair.held.n_conditions, np.nan) for name in found.scores}
    for name, values in found.scores.items():
        spread[name][index] = values
    return spread
