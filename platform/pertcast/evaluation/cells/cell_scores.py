"""Scores of predicted cells against measured ones, with one condition in memory at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from pertcast_data.errors import SchemaError
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast.evaluation.gene_tests.differential import group_order
from pertcast.evaluation.held_out import FloatArray, GeneTests
from pertcast.evaluation.metrics import Metric, metrics_of_level
from pertcast.evaluation.metrics.cell_pair import MOST_PAIRED, CellPair, ControlCells
from pertcast.evaluation.metrics.responses import SIGNIFICANT
from pertcast.evaluation.populations import MeasuredCells, PredictedCells

FACTS: Final = (
    "true_e_distance",
    "predicted_e_distance",
    "true_significant_genes",
    "predicted_significant_genes",
)
"""Columns that metrics over conditions (`metrics.across.ACROSS`) are made from."""


@dataclass(frozen=True)
class CellScores:
    """Scores of one prediction.

    Attributes
    ----------
    scores
        Metric of level "cells" -> (N,) float64, NaN where undefined.
    facts
        Column of `FACTS` -> (N,) float64.
    remarks
        Sentences about what was thinned out.
    """

    scores: dict[str, FloatArray]
    facts: dict[str, FloatArray]
    remarks: tuple[str, ...]


def _checked(cells: FloatArray, what: str, condition: str, n_genes: int) -> FloatArray:
    """Return cells as float32; raises SchemaError unless they are finite, at least one, and over G genes."""
    if cells.ndim != 2 or not len(cells) or cells.shape[1] != n_genes:
        raise SchemaError(
            f"The {what} cells of condition {condition!r} have shape {cells.shape}, wanted at least one cell "
            f"of {n_genes} genes; give cells over the truth's genes, in its order."
        )
    if not np.isfinite(cells).all():
        cell, gene = (int(i) for i in np.argwhere(~np.isfinite(cells))[0])
        raise SchemaError(
            f"The {what} cells of condition {condition!r} are not finite (cell {cell}, gene number {gene}); "
            "every cell needs a value for every gene."
        )
    return np.asarray(cells, dtype=np.float32)


def _facts(pair: CellPair) -> tuple[float, ...]:
    """Return the values of `FACTS`, in order."""
    counts = [float((q < SIGNIFICANT).sum()) for q in (pair.true_q, pair.predicted_q)]
    return (pair.true_effect, pair.predicted_effect, *counts)


def _remarks(n_thinned: int, n: int) -> tuple[str, ...]:
    if not n_thinned:
        return ()
    return (
        f"Distances of cell populations: at most {MOST_PAIRED:,} cells each, drawn by the seed; "
        f"{n_thinned:,} of {n:,} conditions have more.",
    )


def compare_cells(
    measured: MeasuredCells,
    predicted: PredictedCells,
    tests: GeneTests,
    *,
    metrics: Sequence[Metric] | None = None,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
) -> CellScores:
    """Score predicted cells with every metric of cells (or those given), and keep each condition's facts.

    Parameters
    ----------
    measured
        The truth and its controls; predictions are compared with the same controls.
    predicted
        Cells of the same conditions over the same genes, log-normalised.
    tests
        `cell_tests(measured)`, computed once for all contenders.
    metrics
        Metrics of level "cells"; all by default.
    seed
        Draws the cells that distances are taken over where a population has more than `MOST_PAIRED`.

    Raises
    ------
    SchemaError
        A population is empty, not finite, or over other genes.
    """
    chosen = metrics_of_level("cells") if metrics is None else tuple(metrics)
    n, g = len(measured.control_group), len(measured.genes)
    scores = {metric.name: np.full(n, np.nan) for metric in chosen}
    facts = {name: np.full(n, np.nan) for name in FACTS}
    names = measured.conditions["condition_id"].cast(str).to_list()
    group, controls, n_thinned = -1, None, 0
    for done, i in enumerate(group_order(measured.control_group).tolist()):
        if controls is None or int(measured.control_group[i]) != group:
            group = int(measured.control_group[i])
            controls = ControlCells(_checked(measured.controls(group), "control", names[i], g), seed)
        true = _checked(measured.cells(i), "measured", names[i], g)
        pair = CellPair(
            true, _checked(predicted.cells(i), "predicted", names[i], g), controls, tests.q_value[i], seed
        )
        for metric in chosen:
            scores[metric.name][i] = metric.score(pair)
        for name, value in zip(FACTS, _facts(pair), strict=True):
            facts[name][i] = value
        n_thinned += max(len(pair.true), len(pair.predicted), len(controls.cells)) > MOST_PAIRED
        progress(done + 1, n, "conditions scored by their cells")
    return CellScores(scores, facts, _remarks(n_thinned, n))
