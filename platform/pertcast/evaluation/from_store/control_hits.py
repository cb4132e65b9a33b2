"""Controls tested as if they were a perturbation: every gene that is called then is called falsely.

A part of each group of controls is dealt into pseudo-conditions as large as the real ones and tested, by the
test that the truth is tested with, against the rest of its own group.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import polars as pl
from pertcast_data.loading import ControlPairing
from pertcast_data.store.readers import RowReader

from pertcast.evaluation.from_store.replicates import replicate_tests
from pertcast.evaluation.gene_tests.differential import cell_tests
from pertcast.evaluation.held_out import FloatArray, GeneTests, IndexArray
from pertcast.evaluation.metrics.responses import SIGNIFICANT
from pertcast.evaluation.parts import ControlHits
from pertcast.evaluation.populations import MeasuredCells
from pertcast.evaluation.units import Units

MOST_CONDITIONS: Final = 50
"""Pseudo-conditions at most."""

_SHARE: Final = 1 / 3
_FEWEST_CELLS: Final = 10


def count_hits(tests: GeneTests) -> ControlHits:
    """Count the genes tested and those called at a q value below 0.05."""
    tested = ~np.isnan(tests.q_value)
    called = tested & (np.nan_to_num(tests.q_value, nan=1.0) < SIGNIFICANT)
    return ControlHits(tests.method, int(tested.sum()), int(called.sum()))


def _set_aside(pairing: ControlPairing, groups: IndexArray, generator: np.random.Generator) -> IndexArray:
    """Return a third of the controls of each group, at random; groups of fewer than three give none."""
    parts = []
    for group in groups.tolist():
        own = pairing.members(group)
        own = own[pairing.group_of_row[own] == group]
        parts.append(generator.permutation(own)[: int(len(pairing.members(group)) * _SHARE)])
    rows: IndexArray = np.unique(np.concatenate(parts)) if parts else np.empty(0, dtype=np.int64)
    return rows


def _deal(pairing: ControlPairing, rows: IndexArray, size: int, generator: np.random.Generator) -> IndexArray:
    """Return (M,) pseudo-condition of each row, -1 for those left over: `size` rows of one context each."""
    context = pairing.contexts.gather(rows).fill_null("").to_numpy()
    label = np.full(len(rows), -1)
    n_conditions = 0
    for name in np.unique(context):
        members = generator.permutation(np.flatnonzero(context == name))
        n_whole = min(len(members) // size, MOST_CONDITIONS - n_conditions)
        label[members[: n_whole * size]] = n_conditions + np.repeat(np.arange(n_whole), size)
        n_conditions += n_whole
    return label


def _pseudo_units(pairing: ControlPairing, rows: IndexArray, label: IndexArray) -> Units:
    """Lay out rows as units of pseudo-conditions, each with the controls of its own group."""
    group = pairing.group_of_row[rows].astype(np.int64)
    order = np.lexsort((rows, group, label))
    keys, unit, sizes = np.unique(
        np.stack([label[order], group[order]]), axis=1, return_inverse=True, return_counts=True
    )
    names = [f"control|{number}" for number in range(int(label.max()) + 1)]
    return Units(
        conditions=pl.DataFrame({"condition_id": names}),
        table=pl.DataFrame({"condition_id": [names[number] for number in keys[0]]}),
        rows=rows[order],
        unit_of_row=unit.reshape(-1).astype(np.int64),
        condition=keys[0],
        n_rows=sizes.astype(np.int64),
        control_group=keys[1],
    )


def control_hits(
    units: Units, reader: RowReader, pairing: ControlPairing | None, n_genes: int, seed: int = 0
) -> ControlHits | None:
    """Test controls as perturbations by the test of replicate profiles.

    Parameters
    ----------
    units
        The held-out rows: their control groups are used, and the median number of rows of their conditions.
    reader
        Reads normalised profiles.
    pairing
        Controls; None for measure "response".
    n_genes
        G.
    seed
        Of the deal.

    Returns
    -------
    ControlHits or None
        None without controls, without replicates of the conditions, or where too few controls can be set
        aside for one pseudo-condition.
    """
    n_rows = np.bincount(units.condition, units.n_rows, units.n_conditions)
    if pairing is None or n_rows.max(initial=0) < 2:
        return None
    generator = np.random.default_rng(seed)
    rows = _set_aside(pairing, np.unique(units.control_group), generator)
    label = _deal(pairing, rows, max(2, int(np.median(n_rows))), generator)
    rows, label = rows[label >= 0], label[label >= 0]
    if not len(rows):
        return None
    stays = ~np.isin(pairing.control_rows, rows)
    rest = replace(
        pairing, control_rows=pairing.control_rows[stays], group_of_control=pairing.group_of_control[stays]
    )
    pseudo = _pseudo_units(pairing, rows, label)
    tests = replicate_tests(pseudo, reader, rest, rest.means(reader), n_genes)
    return None if tests is None else count_hits(tests)


@dataclass(frozen=True)
class _ControlCells:
    """Control cells as pseudo-conditions, one a group: the first cells of a random order against the rest."""

    measured: MeasuredCells
    groups: IndexArray
    n_cells: IndexArray
    seed: int

    @property
    def conditions(self) -> pl.DataFrame:
        """One row a group."""
        return pl.DataFrame({"condition_id": [f"control|{group}" for group in self.groups]})

    @property
    def genes(self) -> tuple[str, ...]:
        """Names of the genes."""
        return self.measured.genes

    @property
    def control_group(self) -> IndexArray:
        """Number of each pseudo-condition's rest of controls."""
        return np.arange(len(self.groups))

    def _parts(self, condition: int) -> tuple[FloatArray, FloatArray]:
        cells = self.measured.controls(int(self.groups[condition]))
        order = np.random.default_rng((self.seed, condition)).permutation(len(cells))
        cut = int(self.n_cells[condition])
        return cells[np.sort(order[:cut])], cells[np.sort(order[cut:])]

    def cells(self, condition: int) -> FloatArray:
        """Return the cells that stand for a perturbation."""
        return self._parts(condition)[0]

    def controls(self, group: int) -> FloatArray:
        """Return the rest of the group."""
        return self._parts(group)[1]


def control_cell_hits(measured: MeasuredCells, seed: int = 0) -> ControlHits | None:
    """Test control cells as a perturbation, group by group, by the test of cells.

    Parameters
    ----------
    measured
        Cells of the held-out conditions and of their controls.
    seed
        Of the deal.

    Returns
    -------
    ControlHits or None
        None where no group can spare ten cells: a third of its own, and no more than its conditions have.
    """
    groups, number = np.unique(measured.control_group, return_inverse=True)
    groups = groups[:MOST_CONDITIONS]
    sizes = []
    for place, group in enumerate(groups.tolist()):
        first = int(np.flatnonzero(number == place)[0])
        spare = int(len(measured.controls(group)) * _SHARE)
        sizes.append(min(spare, len(measured.cells(first))))
    n_cells = np.array(sizes, dtype=np.int64)
    usable = n_cells >= _FEWEST_CELLS
    if not usable.any():
        return None
    return count_hits(cell_tests(_ControlCells(measured, groups[usable], n_cells[usable], seed)))
