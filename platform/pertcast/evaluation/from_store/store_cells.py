"""Populations of cells from a store, and from predictions: what distributions are scored on.

Cells are read when they are asked for, one condition or one control population at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Final

import numpy as np
import polars as pl
from pertcast_data.errors import SchemaError
from pertcast_data.loading import ControlPairing
from pertcast_data.store import ExpressionStore
from pertcast_data.store.readers import RowReader

from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.populations import MeasuredCells
from pertcast.evaluation.units import Units

MOST_CELLS: Final = 2_000
"""Cells of a condition that are read at most."""

MOST_CONTROLS: Final = 10_000
"""Control cells of a condition that are read at most."""


def _drawn(rows: IndexArray, most: int, seed: int, number: int) -> IndexArray:
    """Return at most `most` of the rows, drawn without replacement, ascending."""
    if len(rows) <= most:
        return rows
    chosen = np.random.default_rng((seed, number)).choice(len(rows), most, replace=False)
    return np.sort(rows[chosen])


def _group_sets(units: Units) -> tuple[IndexArray, tuple[IndexArray, ...]]:
    """Return (N,) the control population of each condition, and the control groups each population unites."""
    pairs = np.unique(np.stack([units.condition, units.control_group]), axis=1)
    bounds = np.searchsorted(pairs[0], np.arange(units.n_conditions + 1))
    numbers: dict[tuple[int, ...], int] = {}
    of_condition = np.empty(units.n_conditions, dtype=np.int64)
    for i in range(units.n_conditions):
        groups = tuple(pairs[1, bounds[i] : bounds[i + 1]].tolist())
        of_condition[i] = numbers.setdefault(groups, len(numbers))
    return of_condition, tuple(np.asarray(groups, dtype=np.int64) for groups in numbers)


class StoreCells:
    """Measured cells of held-out conditions, and the controls that each was paired with.

    A condition of several plates has the controls of all of them as its population.

    Parameters
    ----------
    store
        Of single cells, measure "expression".
    reader
        Reads its rows, normalised.
    units
        The held-out rows, by condition.
    pairing
        The controls of each row.
    most_cells, most_controls
        More of a population are thinned out, drawn by the seed.
    seed
        Of the draws.

    Raises
    ------
    SchemaError
        The store holds responses, which have no control cells.
    """

    def __init__(
        self,
        store: ExpressionStore,
        reader: RowReader,
        units: Units,
        pairing: ControlPairing,
        most_cells: int = MOST_CELLS,
        most_controls: int = MOST_CONTROLS,
        seed: int = 0,
    ) -> None:
        if store.measure != "expression":
            raise SchemaError(
                f"{store.path} holds responses, not cells: distributions are scored on stores of measure "
                "'expression' only."
            )
        self._reader = reader
        self._pairing = pairing
        self._most = (most_cells, most_controls)
        self._seed = seed
        self._conditions = units.conditions
        self._genes = store.genes
        self._control_group, self._groups = _group_sets(units)
        of_row = units.condition_of_row
        order = np.argsort(of_row, kind="stable")
        bounds = np.searchsorted(of_row[order], np.arange(units.n_conditions + 1))
        self._rows = [np.sort(units.rows[order[a:b]]) for a, b in pairwise(bounds.tolist())]

    @property
    def conditions(self) -> pl.DataFrame:
        """N rows with `condition_id`, in the order of the held-out table."""
        return self._conditions

    @property
    def genes(self) -> tuple[str, ...]:
        """Names of the G genes."""
        return self._genes

    @property
    def control_group(self) -> IndexArray:
        """(N,) number of the control population that belongs to each condition."""
        return self._control_group

    def cells(self, condition: int) -> FloatArray:
        """Return (n, G) float32 cells of a condition."""
        rows = _drawn(self._rows[condition], self._most[0], self._seed, condition)
        cells: FloatArray = self._reader.dense(rows)
        return cells

    def controls(self, group: int) -> FloatArray:
        """Return (m, G) float32 control cells of a population."""
        members = np.unique(np.concatenate([self._pairing.members(int(k)) for k in self._groups[group]]))
        cells: FloatArray = self._reader.dense(_drawn(members, self._most[1], self._seed, group))
        return cells

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences about what is thinned out."""
        thinned = sum(len(rows) > self._most[0] for rows in self._rows)
        if not thinned:
            return ()
        return (
            f"Cells: at most {self._most[0]:,} a condition, drawn by the seed; {thinned:,} of "
            f"{len(self._rows):,} conditions have more.",
        )


class ShiftedControls:
    """Cells of a prediction that has means only: control cells moved by the predicted response.

    As many as the condition has true cells, drawn from its controls (with replacement where there are fewer),
    plus the response; values below 0 are set to 0, as no log-normalised cell is below it. Clipping lifts the
    mean of genes that few control cells express: the shift is not made up for that.

    Parameters
    ----------
    measured
        The truth: gives the controls and how many cells each condition has.
    mean_response
        (N, G) predicted responses.
    seed
        Of the draws.

    Raises
    ------
    SchemaError
        The responses are over other conditions or genes than the truth.
    """

    def __init__(self, measured: MeasuredCells, mean_response: FloatArray, seed: int = 0) -> None:
        wanted = (len(measured.control_group), len(measured.genes))
        if mean_response.shape != wanted:
            raise SchemaError(
                f"Predicted responses have shape {mean_response.shape}, the measured cells {wanted}; predict "
                "every held-out condition over the truth's genes, in its order."
            )
        self._measured = measured
        self._response = mean_response
        self._seed = seed
        self._last: tuple[int, FloatArray] | None = None

    def _controls(self, group: int) -> FloatArray:
        if self._last is None or self._last[0] != group:
            self._last = (group, self._measured.controls(group))
        return self._last[1]

    def cells(self, condition: int) -> FloatArray:
        """Return (k, G) float32 predicted cells of a condition."""
        controls = self._controls(int(self._measured.control_group[condition]))
        n = len(self._measured.cells(condition))
        generator = np.random.default_rng((self._seed, condition))
        chosen = generator.choice(len(controls), n, replace=n > len(controls))
        moved: FloatArray = controls[chosen] + self._response[condition].astype(np.float32)
        return np.maximum(moved, 0.0, out=moved)


class SampledCells:
    """Cells that a generative model samples, one condition at a time.

    Parameters
    ----------
    sample
        ``sample(condition) -> (k, G)``: absolute, log-normalised cells of a condition of the held-out table.
    """

    def __init__(self, sample: Callable[[int], FloatArray]) -> None:
        self._sample = sample

    def cells(self, condition: int) -> FloatArray:
        """Return (k, G) float32 predicted cells of a condition."""
        return np.asarray(self._sample(condition), dtype=np.float32)
