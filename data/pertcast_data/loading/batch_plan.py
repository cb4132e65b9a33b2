"""Which rows make which batch: shuffled by blocks, dealt to ranks, resumable at any step.

A plan is a pure function of its arguments. Blocks of consecutive rows keep reads from disk long; a buffer of
many blocks, shuffled by row, keeps a batch from being a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from pertcast_data.errors import ConfigError

_BLOCKS_PER_RANK = 16
_ORDER_STREAM, _BUFFER_STREAM = 0, 1


class BatchPlan:
    """Batches of rows for one rank of a job.

    Shuffled, every rank gets equally many batches of equal size, and what does not fill the last one is left
    for another epoch (each leaves out other rows). Unshuffled, every row comes exactly once over all ranks,
    in order, and the last batch may be shorter.

    Parameters
    ----------
    rows
        (N,) int64, rows of a store, ascending for fast reads; a row that stands twice is drawn twice.
    batch_size
        Rows of a batch on one rank. Where a rank has fewer rows, they make one shorter batch.
    seed
        Of the shuffle; each epoch has its own.
    rank, world_size
        Which of how many ranks.
    shuffle
        Whether to shuffle.
    block_rows
        Consecutive rows that stay together; fewer where each rank would get only a few blocks.
    buffer_rows
        Rows that are shuffled among each other.

    Raises
    ------
    ConfigError
        A size is not positive, the rank is not below the world size, or there are fewer rows to shuffle than
        ranks.
    """

    def __init__(
        self,
        rows: NDArray[np.integer],
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        shuffle: bool = True,
        block_rows: int = 64,
        buffer_rows: int = 16_384,
    ) -> None:
        if min(batch_size, world_size, block_rows, buffer_rows) < 1 or not 0 <= rank < world_size:
            raise ConfigError(
                f"batch_size {batch_size}, block_rows {block_rows} and buffer_rows {buffer_rows} must be "
                f"positive, and rank {rank} must be in 0..{world_size - 1}."
            )
        self._rows = np.asarray(rows, dtype=np.int64).reshape(-1)
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._shuffle = shuffle
        n_rows = len(self._rows)
        if shuffle and n_rows < world_size:
            raise ConfigError(f"{n_rows} rows cannot be shuffled over {world_size} ranks; use fewer workers.")
        self._block_rows = max(1, min(block_rows, n_rows // (world_size * _BLOCKS_PER_RANK)))
        self._buffer_rows = buffer_rows
        self._n_blocks = -(-n_rows // self._block_rows)
        self._blocks_per_buffer = max(1, buffer_rows // self._block_rows)
        self._rank_rows = self._shuffled_rank_rows() if shuffle else len(self._own_rows())
        self._batch_size = min(batch_size, max(self._rank_rows, 1)) if shuffle else batch_size

    @property
    def n_rows(self) -> int:
        """Number of rows over all ranks."""
        return len(self._rows)

    @property
    def batch_size(self) -> int:
        """Rows of a batch on this rank."""
        return self._batch_size

    def steps(self, epoch: int) -> int:
        """Return the number of batches of this rank; the same for all ranks and epochs when shuffled."""
        if self._shuffle:
            return self._rank_rows // self._batch_size
        return -(-self._rank_rows // self._batch_size)

    def batches(
        self, epoch: int, start_step: int = 0, announce: Callable[[NDArray[np.int64]], None] | None = None
    ) -> Iterator[NDArray[np.int64]]:
        """Yield the rows (int64) of each batch of `epoch`, from `start_step` on.

        Parameters
        ----------
        epoch, start_step
            Where to begin.
        announce
            Told the rows of each buffer while the one before is in use: `RowReader.announce`, so that a
            reader on disk fetches them meanwhile.
        """
        last = self.steps(epoch)
        skip = start_step * self._batch_size
        buffers = self._buffers(epoch, skip) if self._shuffle else self._stretches(skip)
        waiting = np.empty(0, dtype=np.int64)
        step = start_step
        for buffer in buffers if announce is None else announced(buffers, announce):
            waiting = np.concatenate([waiting, buffer])
            while len(waiting) >= self._batch_size and step < last:
                yield waiting[: self._batch_size]
                waiting = waiting[self._batch_size :]
                step += 1
            if step >= last:
                return
        if len(waiting):
            yield waiting

    def _stretches(self, skip: int) -> Iterator[NDArray[np.int64]]:
        """Yield this rank's rows in order without the first `skip`, as many at once as a buffer holds."""
        own = self._own_rows()
        for start in range(skip, len(own), self._buffer_rows):
            yield own[start : start + self._buffer_rows]

    def _own_rows(self) -> NDArray[np.int64]:
        """Return this rank's consecutive share of the rows."""
        return np.array_split(self._rows, self._world_size)[self._rank]

    def _shuffled_rank_rows(self) -> int:
        """Return the rows that every rank surely has, however the one short block is dealt."""
        short = self._n_blocks * self._block_rows - len(self._rows)
        return self._n_blocks // self._world_size * self._block_rows - short

    def _buffers(self, epoch: int, skip: int) -> Iterator[NDArray[np.int64]]:
        """Yield this rank's shuffled buffers without their first `skip` rows; whole ones are not made."""
        order = np.random.default_rng([_ORDER_STREAM, self._seed, epoch]).permutation(self._n_blocks)
        own = order[self._rank :: self._world_size]
        for number, first in enumerate(range(0, len(own), self._blocks_per_buffer)):
            blocks = own[first : first + self._blocks_per_buffer]
            size = self._rows_of_blocks(blocks)
            if skip >= size:
                skip -= size
                continue
            places = (blocks[:, None] * self._block_rows + np.arange(self._block_rows)).reshape(-1)
            places = places[places < len(self._rows)]
            stream = [_BUFFER_STREAM, self._seed, epoch, self._rank, number]
            np.random.default_rng(stream).shuffle(places)
            yield self._rows[places[skip:]]
            skip = 0

    def _rows_of_blocks(self, blocks: NDArray[np.int64]) -> int:
        full = len(blocks) * self._block_rows
        short = self._n_blocks * self._block_rows - len(self._rows)
        return full - short if (blocks == self._n_blocks - 1).any() else full


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
