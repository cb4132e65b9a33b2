"""Which rows make which batch: shuffled by blocks, the same rows a step for any number of ranks, resumable.

A plan is a pure function of its arguments. The epoch's order (shuffled blocks, one after another) is cut into
columns of equal length, and each step takes equally many rows of every column. So a rank, which owns
neighbouring columns, reads only their blocks, in long runs; a column is shuffled by row within windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from pertcast_data.errors import ConfigError
from pertcast_data.loading.epoch_order import EpochOrder, block_starts

_BLOCKS_A_WINDOW = 4
"""Blocks of a column that are shuffled among each other, at least; its ends cut two of them."""
_ORDER_STREAM, _WINDOW_STREAM = 0, 1


class BatchPlan:
    """Batches of rows for one rank of a job.

    Shuffled, the rows of a step (of all micro-batches of all ranks) are the same for every number of ranks
    and micro-batches that `batch_size * world_size * accumulate` is the same for. All batches have equal
    size, and what does not fill the last step is left for another epoch: every row with the same probability.
    Unshuffled, every row comes exactly once over all ranks, in order, and the last batch may be shorter.

    Parameters
    ----------
    rows
        (N,) int64, rows of a store, ascending for fast reads; a row that stands twice is drawn twice.
    batch_size
        Rows of a batch on one rank. Where there are fewer rows than one step takes, they make one step of
        smaller batches.
    seed
        Of the shuffle; each epoch has its own.
    rank, world_size
        Which of how many ranks.
    accumulate
        Batches of one step on each rank.
    shuffle
        Whether to shuffle.
    block_rows
        Consecutive rows of the store that stay together, as its reader reads them. Rows that one buffer holds
        are shuffled one by one.
    buffer_rows
        Rows that are shuffled among each other, over all ranks.

    Raises
    ------
    ConfigError
        A size is not positive, the rank is not below the world size, or there are fewer rows to shuffle than
        batches a step.
    """

    def __init__(
        self,
        rows: NDArray[np.integer],
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        accumulate: int = 1,
        shuffle: bool = True,
        block_rows: int = 64,
        buffer_rows: int = 16_384,
    ) -> None:
        sizes = (batch_size, world_size, accumulate, block_rows, buffer_rows)
        if min(sizes) < 1 or not 0 <= rank < world_size:
            raise ConfigError(
                f"batch_size {batch_size}, accumulate {accumulate}, block_rows {block_rows} and buffer_rows "
                f"{buffer_rows} must be positive, and rank {rank} must be in 0..{world_size - 1}."
            )
        self._rows = np.asarray(rows, dtype=np.int64).reshape(-1)
        self._seed, self._rank, self._world_size = seed, rank, world_size
        self._accumulate = accumulate
        self._shuffle = shuffle
        self._batch_size = batch_size
        self._buffer_rows = buffer_rows
        if shuffle:
            self._lay_out(block_rows)

    def _lay_out(self, block_rows: int) -> None:
        """Settle blocks, steps, columns and windows: by the rows of a step, never by who takes them."""
        n_rows, batches_a_step = len(self._rows), self._world_size * self._accumulate
        if n_rows < batches_a_step:
            raise ConfigError(
                f"{n_rows} rows cannot be shuffled over {self._world_size} ranks x {self._accumulate} "
                "micro-batches; use fewer workers or a smaller train.accumulate."
            )
        self._batch_size = min(self._batch_size, n_rows // batches_a_step)
        self._step_rows = self._batch_size * batches_a_step
        self._n_steps = n_rows // self._step_rows
        fits_a_buffer = n_rows <= self._buffer_rows
        self._block_starts = block_starts(self._rows, block_rows) if not fits_a_buffer else np.arange(n_rows)
        most = 1 if fits_a_buffer else self._buffer_rows // (_BLOCKS_A_WINDOW * block_rows)
        self._n_columns = _largest_divisor(self._step_rows, most)
        self._n_windows = -(-self._n_steps // max(1, self._buffer_rows // self._step_rows))

    @property
    def n_rows(self) -> int:
        """Number of rows over all ranks."""
        return len(self._rows)

    @property
    def batch_size(self) -> int:
        """Rows of a batch on this rank."""
        return self._batch_size

    def steps(self, epoch: int) -> int:
        """Return the number of batches of this rank; the same for all ranks and epochs when shuffled.

        Shuffled, a multiple of `accumulate`: batch k of a rank belongs to step k // accumulate.
        """
        if self._shuffle:
            return self._n_steps * self._accumulate
        return -(-len(self._own_rows()) // self._batch_size)

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
        skip = start_step * self._batch_size
        buffers = self._windows(epoch, start_step) if self._shuffle else self._stretches(skip)
        for buffer in buffers if announce is None else announced(buffers, announce):
            for start in range(0, len(buffer), self._batch_size):
                yield buffer[start : start + self._batch_size]

    def _stretches(self, skip: int) -> Iterator[NDArray[np.int64]]:
        """Yield this rank's rows in order without the first `skip`: whole batches, as a buffer holds them."""
        own = self._own_rows()
        stretch = max(1, self._buffer_rows // self._batch_size) * self._batch_size
        for start in range(skip, len(own), stretch):
            yield own[start : start + stretch]

    def _own_rows(self) -> NDArray[np.int64]:
        """Return this rank's consecutive share of the rows."""
        return np.array_split(self._rows, self._world_size)[self._rank]

    def _windows(self, epoch: int, start_batch: int) -> Iterator[NDArray[np.int64]]:
        """Yield this rank's rows of each window of steps, from a batch on; earlier windows are not made."""
        start_step = start_batch // self._accumulate
        if start_step >= self._n_steps:
            return
        order = EpochOrder(self._block_starts, len(self._rows), self._random(_ORDER_STREAM, epoch))
        # Windows are as equal as can be: a last one of a few steps would hardly be shuffled.
        first = ((start_step + 1) * self._n_windows - 1) // self._n_steps
        for window in range(first, self._n_windows):
            begin, end = (each * self._n_steps // self._n_windows for each in (window, window + 1))
            rows = self._own_share(order, begin, end, self._random(_WINDOW_STREAM, epoch, window))
            yield rows[max(0, start_batch - begin * self._accumulate) * self._batch_size :]

    def _own_share(
        self, order: EpochOrder, begin: int, end: int, random: np.random.Generator
    ) -> NDArray[np.int64]:
        """Return this rank's rows of steps `begin` to `end`, every column shuffled within them."""
        width = self._step_rows // self._n_columns
        size = (end - begin) * width
        share = self._accumulate * self._batch_size
        first, last = self._rank * share // width, -(-(self._rank + 1) * share // width)
        own = order.runs(np.arange(first, last) * (self._n_steps * width) + begin * width, size)
        # The columns of other ranks are shuffled too, empty, so that a draw does not depend on who draws.
        columns = np.zeros((self._n_columns, size), dtype=np.int64)
        columns[first:last] = self._rows[own]
        random.permuted(columns, axis=1, out=columns)
        by_column = columns[first:last].reshape(last - first, end - begin, width)
        by_step = by_column.swapaxes(0, 1).reshape(end - begin, -1)
        within = self._rank * share - first * width
        return by_step[:, within : within + share].reshape(-1)

    def _random(self, stream: int, *of: int) -> np.random.Generator:
        return np.random.default_rng([stream, self._seed, *of])


def _largest_divisor(number: int, most: int) -> int:
    """Return the largest divisor of a number that is `most` or less, at least 1."""
    return next((each for each in range(min(number, most), 1, -1) if number % each == 0), 1)


def announced(
    buffers: Iterator[NDArray[np.int64]], announce: Callable[[NDArray[np.int64]], None]
) -> Iterator[NDArray[np.int64]]:
    """Yield the buffers, each announced before its predecessor is yielded."""
    previous: NDArray[np.int64] | None = None
    for buffer in buffers:
        announce(buffer)
        if previous is not None:
            yield previous
        previous = buffer
    if previous is not None:
        yield previous
