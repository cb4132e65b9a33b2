"""One condition's cells, true and predicted, beside its controls: what metrics of cells are computed from.

Everything costly is computed once, when the first metric asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from pertcast.evaluation.gene_tests.fold_change import log_fold_change
from pertcast.evaluation.gene_tests.rank_sum import SortedPopulation
from pertcast.evaluation.held_out import FloatArray
from pertcast.evaluation.metrics.distribution import Points, energy_distance, squared_distances
from pertcast.multiple_testing import benjamini_hochberg

MOST_PAIRED: Final = 500
"""Distances of populations are taken over at most this many cells each, drawn by the seed."""


def draw(cells: FloatArray, most: int, seed: int) -> FloatArray:
    """Return at most `most` of the cells (n, G), drawn without replacement, in their order."""
    if len(cells) <= most:
        return cells
    chosen = np.random.default_rng(seed).choice(len(cells), most, replace=False)
    drawn: FloatArray = cells[np.sort(chosen)]
    return drawn


class ControlCells:
    """The control cells of one group, shared by its conditions.

    Parameters
    ----------
    cells
        (m, G) float32, log-normalised.
    seed
        Draws the cells that distances are taken over.
    """

    def __init__(self, cells: FloatArray, seed: int = 0) -> None:
        self.cells = cells
        self.mean: FloatArray = cells.mean(axis=0, dtype=np.float64)
        self.centre = self.mean.astype(np.float32)
        self.drawn = Points.of(draw(cells, MOST_PAIRED, seed) - self.centre)

    @cached_property
    def ordered(self) -> SortedPopulation:
        """The cells, sorted for rank sums."""
        return SortedPopulation(self.cells)

    @cached_property
    def squared(self) -> FloatArray:
        """Squared distances among the drawn cells."""
        return squared_distances(self.drawn, self.drawn)


@dataclass(frozen=True)
class CellPair:
    """A condition.

    Attributes
    ----------
    true, predicted
        (n, G) and (k, G) float32 cells.
    controls
        The controls of both: always those of the truth.
    true_q
        (G,) q values of the true cells against the controls.
    seed
        Draws the cells that distances are taken over.
    """

    true: FloatArray
    predicted: FloatArray
    controls: ControlCells
    true_q: FloatArray
    seed: int = 0

    @cached_property
    def true_change(self) -> FloatArray:
        """(G,) log2 fold changes of the true cells."""
        return log_fold_change(self.true.mean(axis=0, dtype=np.float64), self.controls.mean)

    @cached_property
    def predicted_change(self) -> FloatArray:
        """(G,) log2 fold changes of the predicted cells."""
        return log_fold_change(self.predicted.mean(axis=0, dtype=np.float64), self.controls.mean)

    @cached_property
    def predicted_q(self) -> FloatArray:
        """(G,) q values of the predicted cells against the controls, by the same test as the truth's."""
        tested = SortedPopulation(self.predicted).test_against(self.controls.ordered)
        q: FloatArray = benjamini_hochberg(tested.p_value)
        return q

    @cached_property
    def drawn(self) -> tuple[Points, Points]:
        """True and predicted cells that distances are taken over, relative to the controls' mean."""
        true, predicted = (draw(cells, MOST_PAIRED, self.seed) for cells in (self.true, self.predicted))
        return Points.of(true - self.controls.centre), Points.of(predicted - self.controls.centre)

    @cached_property
    def squared(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Squared distances between true and predicted cells, among true, and among predicted cells."""
        true, predicted = self.drawn
        return (
            squared_distances(true, predicted),
            squared_distances(true, true),
            squared_distances(predicted, predicted),
        )

    @cached_property
    def scale(self) -> float:
        """Median squared distance of two true cells, the same for every prediction; NaN for one cell."""
        among = self.squared[1]
        pairs = among[np.triu_indices(len(among), 1)]
        return float(np.median(pairs)) if len(pairs) else float("nan")

    @cached_property
    def true_effect(self) -> float:
        """Energy distance of true cells and controls."""
        between = squared_distances(self.drawn[0], self.controls.drawn)
        return energy_distance(between, self.squared[1], self.controls.squared)

    @cached_property
    def predicted_effect(self) -> float:
        """Energy distance of predicted cells and controls."""
        between = squared_distances(self.drawn[1], self.controls.drawn)
        return energy_distance(between, self.squared[2], self.controls.squared)
