"""Batches of a store: tables are encoded once, a batch is a gather.

Small stores keep every training target in memory, dense and already relative to its controls, so that a
step never waits for decompression.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from pertcast_data.loading import BatchPlan, ControlPairing, GroupPlan
from pertcast_data.store.readers import RowReader
from torch import Tensor

from pertcast.models.batch import Batch, ConditionBatch

_FILL_ROWS = 1024


@dataclass(frozen=True)
class RowTable:
    """What is known of every row of a store before its values are read.

    Attributes
    ----------
    conditions
        The M encoded conditions that rows belong to.
    condition_of_row
        (n_rows,) int64, row of `conditions`; -1 where it could not be encoded.
    training_index
        (M,) int64, which training condition each is, -1 for none.
    group_of_row
        (n_rows,) int64, row of `ModelSpace.groups`, -1 for none.
    """

    conditions: ConditionBatch
    condition_of_row: NDArray[np.int64]
    training_index: Tensor
    group_of_row: NDArray[np.int64]


class TargetReader:
    """Targets of rows: the profile minus its matched controls, the profile itself for responses.

    Parameters
    ----------
    reader
        Reader of the store.
    pairing, control_means
        Matched controls and their (n_groups, G) means; None for measure "response".
    """

    def __init__(
        self,
        reader: RowReader,
        pairing: ControlPairing | None,
        control_means: NDArray[np.float32] | None,
    ) -> None:
        self._reader = reader
        self._group = None if pairing is None else pairing.group_of_row
        self._means = control_means
        self._kept: NDArray[np.float32] | None = None
        self._place: NDArray[np.int64] | None = None

    def keep(self, rows: NDArray[np.int64], n_rows: int) -> None:
        """Hold the targets of `rows` (of a store with `n_rows`) in memory from now on."""
        rows = np.unique(rows)
        parts = [self.targets(rows[i : i + _FILL_ROWS]) for i in range(0, len(rows), _FILL_ROWS)]
        if parts:
            self._place = np.full(n_rows, -1, np.int64)
            self._place[rows] = np.arange(len(rows))
            self._kept = np.concatenate(parts)

    def targets(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return (N, G) float32."""
        if self._kept is not None and self._place is not None:
            place = self._place[rows]
            if not (place < 0).any():
                return self._kept[place]
        profiles = self._reader.dense(rows)
        if self._group is not None and self._means is not None:
            profiles -= self._means[self._group[rows]]
        return profiles

    def announce(self, rows: NDArray[np.int64]) -> None:
        """Say which rows will be asked for soon, so that a reader on disk fetches them meanwhile."""
        if self._kept is None:
            self._reader.announce(rows)

    def basal(self, rows: NDArray[np.int64], n_genes: int) -> NDArray[np.float32]:
        """Return (N, G) float32 means of the matched controls; zero for responses."""
        if self._group is None or self._means is None:
            return np.zeros((len(rows), n_genes), np.float32)
        return self._means[self._group[rows]]


class StoreSource:
    """Rows of a store as batches; a `BatchSource`.

    Parameters
    ----------
    plan
        Which rows make which batch.
    table
        Conditions and groups of the store's rows.
    values
        Where targets and basal profiles come from.
    """

    def __init__(self, plan: BatchPlan | GroupPlan, table: RowTable, values: TargetReader) -> None:
        self._plan = plan
        self._table = table
        self._values = values

    @property
    def n_rows(self) -> int:
        """Number of rows over all ranks."""
        return self._plan.n_rows

    def steps(self, epoch: int) -> int:
        """Return the number of batches (all micro-batches of all steps) that this rank sees in `epoch`."""
        return self._plan.steps(epoch)

    def batches(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """Yield the batches of `epoch` from batch `start_step` on."""
        for rows in self._plan.batches(epoch, start_step, self._values.announce):
            yield self.batch(rows)

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """Return the rows of a store as a batch."""
        target = self._values.targets(rows)
        condition = torch.from_numpy(self._table.condition_of_row[rows])
        conditions = self._table.conditions.take(condition)
        group = torch.from_numpy(self._table.group_of_row[rows])
        return Batch(
            conditions=compact(replace(conditions, group=group)),
            target=torch.from_numpy(target),
            basal=torch.from_numpy(self._values.basal(rows, target.shape[1])),
            condition_index=self._table.training_index[condition],
            sample_id=torch.from_numpy(np.asarray(rows, np.int64)),
        )


def compact(conditions: ConditionBatch) -> ConditionBatch:
    """Return the conditions over a feature table with only the rows they use, if that is smaller."""
    if conditions.features.shape[0] <= conditions.slot.numel():
        return conditions
    used, place = torch.unique(conditions.slot.clamp(min=0), return_inverse=True)
    slot = torch.where(conditions.slot >= 0, place, -1)
    return replace(conditions, slot=slot, features=conditions.features[used])
