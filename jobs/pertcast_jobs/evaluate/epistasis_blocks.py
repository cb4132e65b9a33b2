"""Measured responses of a store's conditions in blocks of replicates, with the blocks of their controls.

One pass over the rows and one over the controls; few blocks where conditions and genes are many, so that
memory is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pertcast.analysis.epistasis import ReplicateBlocks
from pertcast.analysis.epistasis.replicates import FEWEST_BLOCKS, noise_vectors
from pertcast.evaluation.from_store.store_truth import read_blocks
from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.units import Units, add_by_label
from pertcast_data.loading import ControlPairing
from pertcast_data.store import RowReader

MOST_BLOCKS: Final = 20
"""Blocks of a condition: with fewer replicates each is a block of its own."""
MOST_BYTES: Final = 600_000_000

_FEWEST_OF_MANY: Final = 4


@dataclass(frozen=True)
class PairControls:
    """What the rows of a store are compared with.

    Attributes
    ----------
    pairing
        Which controls stand against which row.
    means
        (n_groups, G) their means.
    """

    pairing: ControlPairing
    means: FloatArray


def n_blocks_that_fit(n_conditions: int, n_genes: int, most_bytes: int = MOST_BYTES) -> int:
    """Return how many blocks a condition gets: at most 20, fewer (not below four) where memory ends."""
    return int(np.clip(most_bytes // (8 * max(n_conditions * n_genes, 1)), _FEWEST_OF_MANY, MOST_BLOCKS))


def deal_blocks(labels: IndexArray, n_blocks: int, seed: int) -> IndexArray:
    """Deal the rows of each label to blocks 0..n_blocks-1 at random, evenly.

    Parameters
    ----------
    labels
        (M,) what each row belongs to.
    n_blocks
        Blocks; a label with fewer rows fills the first ones.
    seed
        Of the deal.
    """
    order = np.lexsort((np.random.default_rng(seed).random(len(labels)), labels))
    ordered = labels[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]][: len(labels)])
    counts = np.diff(np.r_[starts, len(labels)])
    result = np.empty(len(labels), dtype=np.int64)
    result[order] = (np.arange(len(labels)) - np.repeat(starts, counts)) % n_blocks
    return result


def can_be_split(units: Units, pairing: ControlPairing | None) -> NDArray[np.bool_]:
    """Return (N,) whether a condition has two rows, and each of its groups of controls two controls."""
    enough = np.bincount(units.condition, units.n_rows, units.n_conditions) >= FEWEST_BLOCKS
    if pairing is not None:
        sizes = np.bincount(pairing.group_of_control, minlength=pairing.n_groups)
        lonely = sizes[units.control_group] < FEWEST_BLOCKS
        enough[units.condition[lonely]] = False
    return enough


def control_noise(
    pairing: ControlPairing, groups: IndexArray, reader: RowReader, n_genes: int, n_blocks: int, seed: int
) -> FloatArray:
    """Return (n_blocks, len(groups), G) noise vectors of the means of some groups of controls.

    A control is in the same block in every group.
    """
    place = np.full(pairing.n_groups, -1, dtype=np.int64)
    place[groups] = np.arange(len(groups))
    distinct, first, member = np.unique(pairing.control_rows, return_index=True, return_inverse=True)
    block = deal_blocks(pairing.group_of_control[first].astype(np.int64), n_blocks, seed)
    own = place[pairing.group_of_control]
    label = np.where(own < 0, -1, block[member] * len(groups) + own)
    sums = np.zeros((n_blocks * len(groups), n_genes))
    entries = np.flatnonzero(label >= 0)
    entries = entries[np.argsort(member[entries], kind="stable")]
    for part in read_blocks(len(entries)):
        rows, where = np.unique(member[entries[part]], return_inverse=True)
        add_by_label(sums, label[entries[part]], reader.dense(distinct[rows])[where])
    counts = np.bincount(label[entries], minlength=len(sums)).reshape(n_blocks, -1)
    means = sums.reshape(n_blocks, len(groups), n_genes) / np.maximum(counts, 1)[..., None]
    return noise_vectors(means, counts / counts.sum(axis=0))


def replicate_blocks(
    units: Units, reader: RowReader, n_genes: int, controls: PairControls | None, seed: int = 0
) -> ReplicateBlocks:
    """Measure the N conditions of units in blocks of replicates.

    Parameters
    ----------
    units
        Rows of the conditions; all can be split (`can_be_split`).
    reader
        Reads normalised profiles.
    n_genes
        G.
    controls
        None for measure "response", whose profiles are the response.
    seed
        Deals rows and controls to blocks.
    """
    n_conditions, condition = units.n_conditions, units.condition_of_row
    n_blocks = n_blocks_that_fit(n_conditions, n_genes)
    label = condition * n_blocks + deal_blocks(condition, n_blocks, seed)
    sums = np.zeros((n_conditions * n_blocks, n_genes))
    group = units.control_group[units.unit_of_row]
    for part in read_blocks(len(units.rows)):
        profiles = reader.dense(units.rows[part]).astype(np.float64)
        own = 0.0 if controls is None else controls.means[group[part]]
        add_by_label(sums, label[part], profiles - own)
    counts = np.bincount(label, minlength=len(sums)).reshape(n_conditions, n_blocks)
    by_block = sums.reshape(n_conditions, n_blocks, n_genes)
    filled = (counts > 0).sum(axis=1)
    noise, shares = _controls_of(units, reader, n_genes, controls, n_blocks, seed)
    return ReplicateBlocks(
        means=[
            (by_block[row, :size] / counts[row, :size, None]).astype(np.float32)
            for row, size in enumerate(filled.tolist())
        ],
        shares=[counts[row, :size] / counts[row].sum() for row, size in enumerate(filled.tolist())],
        control_noise=noise,
        control_shares=shares,
        n_replicates=counts.sum(axis=1).astype(np.int64),
    )


def _controls_of(
    units: Units,
    reader: RowReader,
    n_genes: int,
    controls: PairControls | None,
    n_blocks: int,
    seed: int,
) -> tuple[FloatArray, FloatArray]:
    """Return the noise of the groups of controls in use, and (N, n_groups) the share of rows of each."""
    if controls is None:
        return np.zeros((n_blocks, 0, n_genes)), np.zeros((units.n_conditions, 0))
    groups, place = np.unique(units.control_group, return_inverse=True)
    shares = np.zeros((units.n_conditions, len(groups)))
    np.add.at(shares, (units.condition, place), units.n_rows)
    shares /= shares.sum(axis=1, keepdims=True)
    noise = control_noise(controls.pairing, groups, reader, n_genes, n_blocks, seed)
    return noise, shares
