"""Which noise a held-out well, or the cells of a plate, are sampled with.

A condition's key does not know the plate; models that sample draw the same for the same key.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from pertcast.evaluation.held_out import IndexArray
from pertcast.models.batch import ConditionBatch
from pertcast.models.noise import mix_bits


def keyed_by_row(conditions: ConditionBatch, rows: IndexArray) -> ConditionBatch:
    """Return W conditions keyed by condition and row (W,) of the store.

    Without the row, wells of one condition would be given the same noise on every plate.
    """
    return replace(conditions, key=mix_bits(conditions.key ^ mix_bits(torch.from_numpy(rows) + 1)))
