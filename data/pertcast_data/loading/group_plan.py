"""Which rows make which batch where the rows of a condition stand together: losses over populations.

A plan is a pure function of its arguments. It deals whole groups of rows of one condition, all of equal
size, so that a batch is a table of groups and no group is split over ranks; a step's groups are the same
for any number of ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from pertcast_data.errors import ConfigError
from pertcast_data.loading.batch_plan import announced

_ROW_STREAM, _GROUP_STREAM = 2, 3


class GroupPlan:
    """Batches of whole groups for one rank of a job; group g of a batch is its rows [g * size, (g+1) * size).

    Shuffled, each epoch draws the groups of a condition anew, as many as its rows fill (rounded, at least
    one). The groups of a step (of all micro-batches of all ranks) are the same for every number of ranks and
    micro-batches that `batch_size * world_size * accumulate` is the same for; all batches hold equally many,
    and what does not fill the last step is left for another epoch (each leaves out others). Unshuffled, the
    groups of all conditions come exactly once over all ranks, in order, the same in every epoch, and hold
    every row; the last batch may be shorter. A condition's last group is filled up with rows of its others;
    where a condition has fewer rows than a group, they are repeated, each equally often to within one.

    Parameters
    ----------
    rows
        (N,) int64, rows of a store.
    condition
        (N,) int64, the condition of each, 0 or above.
    group_size
        Rows of a group.
    batch_size
        Rows of a batch on one rank. Shuffled, a step holds as many groups as its rows fill, at least one, and
        they must divide over ranks and micro-batches; where there are fewer, they make one step of smaller
        batches. Unshuffled, a batch holds `batch_size // group_size` groups at most, or one if that is 0.
    seed
        Of the shuffle; each epoch has its own.
    rank, world_size
        Which of how many ranks.
    accumulate
        Batches of one step on each rank.
    shuffle
        Whether to shuffle.
    buffer_rows
        Rows that are announced at once.

    Raises
    ------
    ConfigError
        A size is not positive, the rank is not below the world size, a row has no condition, the groups of a
        step do not divide over ranks and micro-batches, or there are fewer groups to shuffle than batches a
        step.
    """

    def __init__(
        self,
        rows: NDArray[np.integer],
        condition: NDArray[np.integer],
        group_size: int,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        accumulate: int = 1,
        shuffle: bool = True,
        buffer_rows: int = 16_384,
    ) -> None:
        sizes = (group_size, batch_size, world_size, accumulate, buffer_rows)
        if min(sizes) < 1 or not 0 <= rank < world_size:
            raise ConfigError(
                f"group_size {group_size}, batch_size {batch_size}, accumulate {accumulate} and buffer_rows "
                f"{buffer_rows} must be positive, and rank {rank} must be in 0..{world_size - 1}."
            )
        rows, condition = (np.asarray(each, dtype=np.int64).reshape(-1) for each in (rows, condition))
        _require_conditions(rows, condition)
        order = np.argsort(condition, kind="stable")
        self._rows, self._condition = rows[order], condition[order]
        _, self._first, self._n_rows_of = np.unique(self._condition, return_index=True, return_counts=True)
        self._size = group_size
        self._seed, self._rank, self._world_size = seed, rank, world_size
        self._accumulate = accumulate
        self._shuffle = shuffle
        self._number_groups()
        self._groups_a_batch = (
            self._shuffled_groups(batch_size) if shuffle else max(1, batch_size // group_size)
        )
        self._batches_a_buffer = max(1, buffer_rows // self.batch_size)

    @property
    def n_rows(self) -> int:
        """Number of rows over all ranks, each counted once however often an epoch draws it."""
        return len(self._rows)

    @property
    def batch_size(self) -> int:
        """Rows of a batch on this rank."""
        return self._groups_a_batch * self._size

    def steps(self, epoch: int) -> int:
        """Return the number of batches of this rank; the same for all ranks and epochs when shuffled.

        Shuffled, a multiple of `accumulate`: batch k of a rank belongs to step k // accumulate.
        """
        if self._shuffle:
            groups_a_step = self._groups_a_batch * self._world_size * self._accumulate
            return len(self._condition_of_group) // groups_a_step * self._accumulate
        return -(-len(self._own_unshuffled()) // self._groups_a_batch)

    def batches(
        self, epoch: int, start_step: int = 0, announce: Callable[[NDArray[np.int64]], None] | None = None
    ) -> Iterator[NDArray[np.int64]]:
        """Yield the rows (int64) of each batch of `epoch`, from batch `start_step` on.

        Parameters
        ----------
        epoch, start_step
            Where to begin.
        announce
            Told the rows of each buffer while the one before is in use: `RowReader.announce`, so that a
            reader on disk fetches them meanwhile.
        """
        buffers = self._buffers(epoch, start_step)
        for buffer in buffers if announce is None else announced(buffers, announce):
            for start in range(0, len(buffer), self.batch_size):
                yield buffer[start : start + self.batch_size]

    def _number_groups(self) -> None:
        """Give each group its condition and its number within it."""
        if self._shuffle:
            n_groups = np.maximum((2 * self._n_rows_of + self._size) // (2 * self._size), 1)
        else:
            n_groups = -(-self._n_rows_of // self._size)
        self._condition_of_group = np.repeat(np.arange(len(n_groups)), n_groups)
        before = np.cumsum(n_groups) - n_groups
        self._number_of_group = np.arange(len(self._condition_of_group)) - np.repeat(before, n_groups)

    def _shuffled_groups(self, batch_size: int) -> int:
        """Return the groups of a batch: this batch's part of the groups that a step's rows fill."""
        batches = self._world_size * self._accumulate
        n_groups = len(self._condition_of_group)
        dealt_to = f"{self._world_size} workers x {self._accumulate} micro-batches"
        if n_groups < batches:
            raise ConfigError(
                f"{self.n_rows} rows make {n_groups} groups of {self._size} rows of one condition, fewer "
                f"than {dealt_to}; use fewer workers, a smaller train.accumulate or smaller groups."
            )
        a_step = max(1, batch_size * batches // self._size)
        if a_step % batches:
            enough = -(-a_step // batches) * batches * self._size
            raise ConfigError(
                f"A batch of {batch_size * batches} rows holds {a_step} groups of {self._size} rows of one "
                f"condition, which do not divide over {dealt_to}; use train.batch_size={enough}, fewer "
                "workers or a smaller train.accumulate."
            )
        return min(a_step, n_groups) // batches

    def _buffers(self, epoch: int, start_step: int) -> Iterator[NDArray[np.int64]]:
        """Yield this rank's rows from a step on, whole batches, as many at once as a buffer holds."""
        own = self._own_shuffled(epoch) if self._shuffle else self._own_unshuffled()
        rows = self._shuffled_rows(epoch) if self._shuffle else self._rows
        stretch = self._batches_a_buffer * self._groups_a_batch
        for start in range(start_step * self._groups_a_batch, len(own), stretch):
            yield rows[self._places(own[start : start + stretch])].reshape(-1)

    def _own_unshuffled(self) -> NDArray[np.int64]:
        """Return this rank's consecutive share of the groups."""
        return np.array_split(np.arange(len(self._condition_of_group)), self._world_size)[self._rank]

    def _own_shuffled(self, epoch: int) -> NDArray[np.int64]:
        """Return this rank's groups in this epoch's order: its part of each batch over all ranks."""
        random = np.random.default_rng([_GROUP_STREAM, self._seed, epoch])
        order = random.permutation(len(self._condition_of_group))
        share = self._accumulate * self._groups_a_batch
        n_steps = self.steps(epoch) // self._accumulate
        by_step = order[: n_steps * self._world_size * share].reshape(n_steps, self._world_size, share)
        return by_step[:, self._rank].reshape(-1)

    def _shuffled_rows(self, epoch: int) -> NDArray[np.int64]:
        """Return all rows by condition, shuffled within each."""
        random = np.random.default_rng([_ROW_STREAM, self._seed, epoch])
        order = random.permutation(len(self._rows))
        return self._rows[order[np.argsort(self._condition[order], kind="stable")]]

    def _places(self, groups: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return (n, group_size) places of the groups' rows; past its last row a condition begins again."""
        condition = self._condition_of_group[groups, None]
        within = self._number_of_group[groups, None] * self._size + np.arange(self._size)
        places: NDArray[np.int64] = self._first[condition] + within % self._n_rows_of[condition]
        return places


def _require_conditions(rows: NDArray[np.int64], condition: NDArray[np.int64]) -> None:
    if len(rows) != len(condition):
        raise ConfigError(f"{len(rows)} rows cannot be grouped by the conditions of {len(condition)} rows.")
    without = rows[condition < 0]
    if len(without):
        raise ConfigError(
            f"{len(without)} rows have no condition to be grouped by, the first is row {without[0]}; "
            "leave them out."
        )
