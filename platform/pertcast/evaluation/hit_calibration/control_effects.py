"""How large an effect controls show that are treated as if they were a condition.

Controls are drawn with replacement and centred on their group, so that plates keep their own noise and genes
their correlation; the spread is scaled to what a condition's profiles minus its controls' mean would have.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pertcast_data.loading import ControlPairing
from pertcast_data.store import RowReader

from pertcast.effect_size import effect_sizes
from pertcast.evaluation.from_store.store_truth import read_blocks
from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.rowwise import BLOCK_BYTES
from pertcast.evaluation.units import Units, add_by_label

N_DRAWS: Final = 400
QUANTILE: Final = 0.95
MOST_CONTROLS: Final = 1024
"""Controls of a group that are drawn from; more are thinned out at random."""

MOST_AVERAGED: Final = 32
"""Means of more profiles than this are taken to scatter as means of this many, but for their scale."""

Layout = tuple[tuple[int, int], ...]
"""(control group, profiles) of a condition, ascending."""


def measured_effects(
    units: Units, reader: RowReader, control_means: FloatArray | None, n_genes: int
) -> NDArray[np.float64]:
    """Return (N,) root mean square over genes of each condition's mean response; profiles are read once.

    Parameters
    ----------
    units
        Held-out rows.
    reader
        Reads normalised profiles.
    control_means
        (K, G) means of the control groups; None for measure "response".
    n_genes
        G.
    """
    found = np.empty(units.n_conditions)
    condition = units.condition_of_row
    rows_of = np.bincount(condition, minlength=units.n_conditions)
    bounds = np.append(0, np.cumsum(rows_of))
    most = max(1, BLOCK_BYTES // (8 * n_genes))
    for first in range(0, units.n_conditions, most):
        last = min(first + most, units.n_conditions)
        sums = np.zeros((last - first, n_genes))
        for block in read_blocks(int(bounds[last] - bounds[first])):
            rows = slice(int(bounds[first]) + block.start, int(bounds[first]) + block.stop)
            response = reader.dense(units.rows[rows]).astype(np.float64)
            if control_means is not None:
                response -= control_means[units.control_group[units.unit_of_row[rows]]]
            add_by_label(sums, condition[rows] - first, response)
        found[first:last] = effect_sizes(sums / rows_of[first:last, None])
    return found


def layouts_of(units: Units) -> list[Layout]:
    """Return how many profiles of each condition stand against which group of controls."""
    found: list[dict[int, int]] = [{} for _ in range(units.n_conditions)]
    for condition, group, count in zip(
        units.condition.tolist(), units.control_group.tolist(), units.n_rows.tolist(), strict=True
    ):
        found[condition][group] = found[condition].get(group, 0) + count
    return [tuple(sorted(each.items())) for each in found]


class ControlDraws:
    """Draws of mean control profiles about their group's mean, kept for the groups used last.

    Parameters
    ----------
    pairing, reader
        Controls and their profiles.
    n_averaged
        Profiles that a draw averages.
    seed
        With the group's number, of its draws.
    """

    def __init__(self, pairing: ControlPairing, reader: RowReader, n_averaged: int, seed: int) -> None:
        self._reader, self._seed = reader, seed
        self._n_averaged = n_averaged
        order = np.argsort(pairing.group_of_control, kind="stable")
        self._rows = pairing.control_rows[order]
        self.sizes: IndexArray = np.bincount(pairing.group_of_control, minlength=pairing.n_groups).astype(
            np.int64
        )
        self._bounds = np.append(0, np.cumsum(self.sizes))
        self._kept: OrderedDict[int, NDArray[np.float32]] = OrderedDict()

    def of(self, group: int) -> NDArray[np.float32]:
        """Return (N_DRAWS, G) float32 draws of a group, scaled to the spread of a single control."""
        if group in self._kept:
            self._kept.move_to_end(group)
            return self._kept[group]
        found = self._draw(group)
        self._kept[group] = found
        while len(self._kept) > max(8, BLOCK_BYTES // found.nbytes):
            self._kept.popitem(last=False)
        return found

    def _draw(self, group: int) -> NDArray[np.float32]:
        generator = np.random.default_rng((self._seed, group))
        rows = self._rows[self._bounds[group] : self._bounds[group + 1]]
        if len(rows) > MOST_CONTROLS:
            rows = np.sort(generator.choice(rows, MOST_CONTROLS, replace=False))
        profiles = self._reader.dense(np.sort(rows)).astype(np.float64)
        centred = profiles - profiles.mean(axis=0)
        n = len(rows)
        counts = generator.multinomial(self._n_averaged, np.full(n, 1.0 / n), size=N_DRAWS)
        # A sum of n draws from n centred controls has variance n (n - 1) / n of a control's.
        scale = np.sqrt(n / ((n - 1) * self._n_averaged))
        drawn: NDArray[np.float32] = (counts @ centred * scale).astype(np.float32)
        return drawn


def draws_for(
    layouts: Sequence[Layout], reader: RowReader, pairing: ControlPairing, seed: int = 0
) -> ControlDraws:
    """Return draws that average as many controls as a condition usually has in a group."""
    usual = np.median([count for each in layouts for _, count in each])
    return ControlDraws(pairing, reader, int(np.clip(usual, 1, MOST_AVERAGED)), seed)


def control_thresholds(
    units: Units, reader: RowReader, pairing: ControlPairing, seed: int = 0
) -> NDArray[np.float64]:
    """Return (N,) the 95th percentile of the effect of controls in the place of each condition's profiles.

    A condition with n_k profiles among the m_k controls of group k, a share w_k of its profiles: the mean
    response of controls in their place is the sum over k of w_k (1 / n_k + 1 / m_k)^.5 e_k, e_k a draw with
    the spread of a single control. NaN where a group has fewer than two controls.

    Parameters
    ----------
    units
        Held-out rows.
    reader
        Reads normalised profiles.
    pairing
        Controls.
    seed
        Of the draws.
    """
    layouts = layouts_of(units)
    draws = draws_for(layouts, reader, pairing, seed)
    known = {layout: _threshold(layout, draws) for layout in sorted(set(layouts))}
    return np.array([known[layout] for layout in layouts])


def _threshold(layout: Layout, draws: ControlDraws) -> float:
    if any(draws.sizes[group] < 2 for group, _ in layout):
        return float("nan")
    return float(np.quantile(effects_of_controls(layout, draws), QUANTILE))


def effects_of_controls(layout: Layout, draws: ControlDraws) -> NDArray[np.float64]:
    """Return (N_DRAWS,) effects of controls in the place of a condition's profiles."""
    n_rows = sum(count for _, count in layout)
    total = sum(
        draws.of(group) * np.float32(count / n_rows * np.sqrt(1 / count + 1 / draws.sizes[group]))
        for group, count in layout
    )
    return effect_sizes(np.asarray(total))
