"""The order in which an epoch takes the rows: shuffled blocks of rows that lie together on disk."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class EpochOrder:
    """A permutation of rows by whole blocks, begun anywhere.

    It begins at a row drawn at random (a block that is cut in two there is first and last), so that every row
    stands at every place with the same probability, whatever the sizes of the blocks.

    Parameters
    ----------
    starts
        (n_blocks,) int64, ascending from 0: the first row of each block.
    n_rows
        Rows of all blocks.
    random
        What draws the order.
    """

    def __init__(self, starts: NDArray[np.int64], n_rows: int, random: np.random.Generator) -> None:
        order = random.permutation(len(starts))
        sizes = np.diff(starts, append=n_rows)[order]
        begin = int(random.integers(n_rows))
        cut = int(np.searchsorted(np.cumsum(sizes), begin, side="right"))
        head = begin - int(sizes[:cut].sum())
        turned = np.roll(order, -cut)
        starts = np.append(starts[turned], starts[turned[0]])
        starts[0] += head
        sizes = np.append(np.roll(sizes, -cut), head)
        sizes[0] -= head
        self._ends = np.cumsum(sizes)
        self._shift = starts - (self._ends - sizes)

    def runs(self, places: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        """Return (n, length) rows (0..n_rows-1): those that stand at n places of the order and after them.

        Parameters
        ----------
        places
            (n,) int64, where each run begins; it ends within the order.
        length
            Rows of a run, 1 or more.
        """
        first = np.searchsorted(self._ends, places, side="right")
        blocks_a_run = np.searchsorted(self._ends, places + (length - 1), side="right") - first + 1
        before = np.cumsum(blocks_a_run) - blocks_a_run
        block = np.repeat(first - before, blocks_a_run) + np.arange(int(blocks_a_run.sum()))
        # Of each block that a run meets, the place where it ends and how many of its rows the run takes.
        ends = np.minimum(self._ends[block], np.repeat(places + length, blocks_a_run))
        taken = np.diff(ends, prepend=0)
        taken[before] = ends[before] - places
        rows: NDArray[np.int64] = np.repeat(self._shift[block], taken).reshape(-1, length)
        rows += places[:, None]
        rows += np.arange(length)
        return rows


def block_starts(rows: NDArray[np.int64], block_rows: int) -> NDArray[np.int64]:
    """Return where a new block begins among `rows` (n,): blocks lie where those of a store lie.

    Neighbours of one block of `block_rows` rows of the store stay together, so that a block is read once.
    """
    begins = np.diff(rows // block_rows, prepend=-1) != 0
    return np.flatnonzero(begins)
