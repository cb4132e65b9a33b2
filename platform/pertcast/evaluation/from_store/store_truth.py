"""The truth of a store: mean responses of held-out conditions against their own controls, and their halves.

One pass over the held-out rows and one over the controls; sums in float64, memory bounded by blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from pertcast_data.loading import ControlPairing
from pertcast_data.store.readers import RowReader

from pertcast.evaluation.ceilings.ceiling import SplitHalves, halve
from pertcast.evaluation.ceilings.replicate_noise import ReplicateNoise, estimate_noise
from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.units import Units, add_by_label

READ_ROWS: Final = 1024


@dataclass(frozen=True)
class MeasuredResponses:
    """What was measured.

    Attributes
    ----------
    truth
        (N, G) float32 mean response of each condition.
    control
        (N, G) float32 mean of the matched controls over each condition's rows.
    halves
        Responses of two disjoint halves of rows and controls, for the conditions that have them.
    noise
        Noise of `truth`; None where too few rows repeat another of their condition.
    """

    truth: FloatArray
    control: FloatArray
    halves: SplitHalves
    noise: ReplicateNoise | None


def read_blocks(n_rows: int, step: int = READ_ROWS) -> Iterator[slice]:
    """Yield slices over rows."""
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def half_control_means(
    pairing: ControlPairing, reader: RowReader, n_genes: int, seed: int
) -> tuple[FloatArray, IndexArray]:
    """Return (2, n_groups, G) means of two halves of each group's controls, and (2, n_groups) their sizes.

    A control belongs to the same half in every group.
    """
    distinct, first, member = np.unique(pairing.control_rows, return_index=True, return_inverse=True)
    half = halve(pairing.group_of_control[first].astype(np.int64), seed)
    label = np.where(half[member] < 0, -1, half[member] * pairing.n_groups + pairing.group_of_control)
    sizes = np.bincount(label[label >= 0], minlength=2 * pairing.n_groups)
    sums = np.zeros((2 * pairing.n_groups, n_genes))
    order = np.argsort(member, kind="stable")
    for block in read_blocks(len(order)):
        entries = order[block]
        rows, place = np.unique(member[entries], return_inverse=True)
        add_by_label(sums, label[entries], reader.dense(distinct[rows])[place])
    means = sums / np.maximum(sizes, 1)[:, None]
    return means.astype(np.float32).reshape(2, pairing.n_groups, n_genes), sizes.reshape(2, -1)


def _deal_rows(units: Units, control_sizes: IndexArray | None, seed: int) -> IndexArray:
    """Return (M,) the half of each held-out row; -1 where the row or its controls cannot be split."""
    condition = units.condition_of_row
    if control_sizes is not None:
        splittable = control_sizes.min(axis=0) > 0
        condition = np.where(splittable[units.control_group[units.unit_of_row]], condition, -1)
    return halve(condition, seed)


def measure_responses(
    units: Units,
    reader: RowReader,
    n_genes: int,
    pairing: ControlPairing | None,
    control_means: FloatArray | None,
    seed: int = 0,
) -> MeasuredResponses:
    """Measure the mean response of every held-out condition, and of its halves.

    Parameters
    ----------
    units
        The held-out rows.
    reader
        Reads normalised profiles.
    n_genes
        G.
    pairing, control_means
        Controls of each row and their means; None for measure "response", whose profiles are the response.
    seed
        Of the halves.
    """
    n = units.n_conditions
    half_controls, sizes = None, None
    if pairing is not None:
        half_controls, sizes = half_control_means(pairing, reader, n_genes, seed)
    half = _deal_rows(units, sizes, seed)
    condition, group = units.condition_of_row, units.control_group[units.unit_of_row]
    label = np.where(half < 0, -1, half * n + condition)
    truth, controls, halves = np.zeros((n, n_genes)), np.zeros((n, n_genes)), np.zeros((2 * n, n_genes))
    for block in read_blocks(len(units.rows)):
        profiles = reader.dense(units.rows[block])
        own = np.zeros_like(profiles) if control_means is None else control_means[group[block]]
        add_by_label(truth, condition[block], profiles.astype(np.float64) - own)
        add_by_label(controls, condition[block], own)
        if half_controls is not None:
            own = half_controls[np.maximum(half[block], 0), group[block]]
        add_by_label(halves, label[block], profiles.astype(np.float64) - own)
    counts = np.bincount(condition, minlength=n)[:, None]
    half_counts = np.bincount(label[label >= 0], minlength=2 * n)
    index = np.flatnonzero((half_counts.reshape(2, n) > 0).all(axis=0)).astype(np.int64)
    first, second = (halves / np.maximum(half_counts, 1)[:, None]).astype(np.float32).reshape(2, n, n_genes)
    truth /= counts
    return MeasuredResponses(
        truth=truth.astype(np.float32),
        control=(controls / counts).astype(np.float32),
        halves=SplitHalves(index, first[index], second[index]),
        noise=estimate_noise(units, reader, truth, pairing, control_means),
    )
