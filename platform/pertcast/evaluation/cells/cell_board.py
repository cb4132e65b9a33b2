"""Cells of all contenders, scored beside their means: distributions and responding genes on the board.

A model that generates profiles is judged by its samples; everybody else by control cells moved by the
predicted response. Conditions are thinned out evenly, as each is read and compared once a contender.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Literal

import numpy as np
import polars as pl
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast.evaluation.ceilings.ceiling import SPLIT_HALF, spread_over
from pertcast.evaluation.cells.cell_scores import compare_cells
from pertcast.evaluation.gene_tests.differential import cell_tests
from pertcast.evaluation.held_out import FloatArray, GeneTests, IndexArray
from pertcast.evaluation.populations import MeasuredCells, PredictedCells
from pertcast.evaluation.scores.score_board import ScoreBoard

MOST_CELL_CONDITIONS: Final = 40
"""Conditions whose cells are scored, at most; more are thinned out evenly."""


class ChosenMeasured:
    """Some of the conditions of a measured population, renumbered; a `MeasuredCells`."""

    def __init__(self, measured: MeasuredCells, index: IndexArray) -> None:
        self._measured = measured
        self._index = index

    @property
    def conditions(self) -> pl.DataFrame:
        """The rows of the chosen conditions."""
        return self._measured.conditions[self._index]

    @property
    def genes(self) -> tuple[str, ...]:
        """Names of the G genes."""
        return self._measured.genes

    @property
    def control_group(self) -> IndexArray:
        """Number of the control population of each chosen condition."""
        groups: IndexArray = self._measured.control_group[self._index]
        return groups

    def cells(self, condition: int) -> FloatArray:
        """Return (n, G) float32 cells of a chosen condition."""
        return self._measured.cells(int(self._index[condition]))

    def controls(self, group: int) -> FloatArray:
        """Return (m, G) float32 control cells of a group."""
        return self._measured.controls(group)


class ChosenPredicted:
    """Some of the conditions of a predicted population, renumbered; a `PredictedCells`."""

    def __init__(self, predicted: PredictedCells, index: IndexArray) -> None:
        self._predicted = predicted
        self._index = index

    def cells(self, condition: int) -> FloatArray:
        """Return (k, G) float32 predicted cells of a chosen condition."""
        return self._predicted.cells(int(self._index[condition]))


class HalfOfCells:
    """One half of the cells of every condition and of every control population; a `MeasuredCells`.

    Halves 0 and 1 share no cell: the one predicts the other as well as a repeated experiment would.
    """

    def __init__(self, measured: MeasuredCells, half: Literal[0, 1], seed: int = 0) -> None:
        self._measured = measured
        self._half = half
        self._seed = seed

    @property
    def conditions(self) -> pl.DataFrame:
        """The conditions of the whole."""
        return self._measured.conditions

    @property
    def genes(self) -> tuple[str, ...]:
        """Names of the G genes."""
        return self._measured.genes

    @property
    def control_group(self) -> IndexArray:
        """(N,) number of the control population of each condition."""
        return self._measured.control_group

    def cells(self, condition: int) -> FloatArray:
        """Return (n / 2, G) float32 cells of a condition."""
        return self._deal(self._measured.cells(condition), (self._seed, 0, condition))

    def controls(self, group: int) -> FloatArray:
        """Return (m / 2, G) float32 control cells of a group."""
        return self._deal(self._measured.controls(group), (self._seed, 1, group))

    def _deal(self, cells: FloatArray, key: tuple[int, int, int]) -> FloatArray:
        order = np.random.default_rng(key).permutation(len(cells))
        dealt: FloatArray = cells[np.sort(order[self._half :: 2])]
        return dealt


def chosen_conditions(n_conditions: int, most: int = MOST_CELL_CONDITIONS) -> IndexArray:
    """Return at most `most` of the conditions 0..N-1, evenly spaced."""
    if n_conditions <= most:
        return np.arange(n_conditions, dtype=np.int64)
    return np.linspace(0, n_conditions - 1, most).astype(np.int64)


def with_cells(
    board: ScoreBoard,
    measured: MeasuredCells,
    tests: GeneTests,
    predicted: Mapping[str, PredictedCells],
    *,
    most_conditions: int = MOST_CELL_CONDITIONS,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
) -> tuple[ScoreBoard, tuple[str, ...]]:
    """Add every metric of cells to a board.

    Parameters
    ----------
    board
        Scores over the conditions of `measured`, in its order.
    measured
        The truth and its controls.
    tests
        `cell_tests(measured)`.
    predicted
        Contender -> its cells; others stay undefined.
    most_conditions
        Conditions scored; the others are undefined for every contender alike.
    seed
        Draws cells where there are more than distances are taken over.
    progress
        Told of the conditions times contenders done.

    Returns
    -------
    tuple
        The board, and sentences about what was thinned out.
    """
    n = len(measured.control_group)
    index = chosen_conditions(n, most_conditions)
    truth, significance = ChosenMeasured(measured, index), tests.take(index)
    scores: dict[str, dict[str, FloatArray]] = {}
    facts: dict[str, dict[str, FloatArray]] = {}
    remarks: dict[str, None] = {}
    for number, (name, cells) in enumerate(predicted.items()):
        found = compare_cells(
            truth,
            ChosenPredicted(cells, index),
            significance,
            seed=seed,
            progress=_after(progress, number * len(index), len(predicted) * len(index)),
        )
        scores[name] = spread_over(found.scores, index, n)
        facts[name] = spread_over(found.facts, index, n)
        remarks |= dict.fromkeys(found.remarks)
    if SPLIT_HALF.name in board.scores:
        scores[SPLIT_HALF.name] = _halves(measured, index, seed)
    thinned = f"Metrics of cells: {len(index):,} of {n:,} conditions, evenly spaced."
    said = (*((thinned,) if len(index) < n else ()), *remarks)
    return replace(board.with_scores(scores), cell_facts=facts), said


def _halves(measured: MeasuredCells, index: IndexArray, seed: int) -> dict[str, FloatArray]:
    """Score one half of the cells as a prediction of the other, where there are two cells and controls."""
    groups = np.unique(measured.control_group[index])
    splittable = {int(group) for group in groups if len(measured.controls(int(group))) > 1}
    halved = [
        i
        for i in index.tolist()
        if int(measured.control_group[i]) in splittable and len(measured.cells(i)) > 1
    ]
    n, chosen = len(measured.control_group), np.array(halved, dtype=np.int64)
    some = ChosenMeasured(measured, chosen)
    first, second = HalfOfCells(some, 0, seed), HalfOfCells(some, 1, seed)
    if not halved:
        return {}
    found = compare_cells(second, first, cell_tests(second), seed=seed)
    return spread_over(found.scores, chosen, n)


def _after(progress: ProgressCallback, before: int, everything: int) -> ProgressCallback:
    def tell(done: int, total: int, note: str = "") -> None:
        progress(before + done, everything, note)

    return tell
