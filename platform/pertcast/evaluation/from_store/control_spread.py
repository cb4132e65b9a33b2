"""How much the controls of a group differ among themselves: sums of squares about the group's mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pertcast_data.loading import ControlPairing
from pertcast_data.store.readers import RowReader

from pertcast.evaluation.from_store.store_truth import read_blocks
from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.units import add_by_label


@dataclass(frozen=True)
class ControlSpread:
    """Controls of K groups.

    Attributes
    ----------
    size
        (K,) controls a group.
    squares
        (K, G) float64 sums over a group's controls of (profile - group mean)^2.
    """

    size: IndexArray
    squares: FloatArray


def control_spread(pairing: ControlPairing, reader: RowReader, control_means: FloatArray) -> ControlSpread:
    """Measure the spread of every group's controls in one pass over the groups' members."""
    squares = np.zeros(control_means.shape)
    order = np.argsort(pairing.control_rows, kind="stable")
    rows, groups = pairing.control_rows[order], pairing.group_of_control[order].astype(np.int64)
    for block in read_blocks(len(rows)):
        distinct, place = np.unique(rows[block], return_inverse=True)
        profiles = reader.dense(distinct)[place].astype(np.float64)
        add_by_label(squares, groups[block], np.square(profiles - control_means[groups[block]]))
    size = np.bincount(pairing.group_of_control, minlength=pairing.n_groups).astype(np.int64)
    return ControlSpread(size, squares)
