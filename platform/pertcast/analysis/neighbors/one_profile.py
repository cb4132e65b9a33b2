"""The neighbours of one profile among any others of the screen, for questions asked later.

All pairs across cell lines would be quadratic in the whole screen; one profile against all is not.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from pertcast_data.reading import ProfileReader

from pertcast.analysis.neighbors.best import PER_TAIL, RunningBest
from pertcast.analysis.neighbors.blocks import NeighborBlock
from pertcast.analysis.neighbors.tiles import TILE_MULTIPLE, unit_tile
from pertcast.torch_threads import torch_threads

_BLOCK_ROWS: Final = 1024


def neighbors_of(
    row: int,
    perturbation: NDArray[np.integer],
    read: ProfileReader,
    *,
    among: NDArray[np.int64] | None = None,
    per_tail: int = PER_TAIL,
    with_same_perturbation: bool = False,
    block_rows: int = _BLOCK_ROWS,
) -> NeighborBlock:
    """Find the most similar and the most opposite profiles of one profile.

    The cosines have the bits that `neighbor_blocks` gives them.

    Parameters
    ----------
    row, perturbation, read
        The profile's row; (N,) codes, equal for the same perturbation; reads profiles (M, G) by row.
    among
        (M,) int64, rising rows to search; all where None. Across cell lines and perturbation types a cosine
        also shows what these have in common.
    per_tail
        Neighbours kept on each side.
    with_same_perturbation
        Let the same perturbation count, in another cell line, dose or time; the profile itself never does.
    block_rows
        Profiles read at once, rounded up to a multiple of 64.

    Returns
    -------
    NeighborBlock
        Of one query.

    Raises
    ------
    SchemaError
        A profile holds a value that is not finite.
    IndexError
        There is no such row.
    """
    rows = np.arange(len(perturbation), dtype=np.int64) if among is None else among
    own = perturbation[row]
    block_rows = -(-block_rows // TILE_MULTIPLE) * TILE_MULTIPLE
    query_rows = np.array([row], dtype=np.int64)
    tails = RunningBest.empty(1, per_tail), RunningBest.empty(1, per_tail)
    with torch_threads(1):
        query = unit_tile(read(query_rows), query_rows, TILE_MULTIPLE)
        for start in range(0, len(rows), block_rows):
            part = rows[start : start + block_rows]
            size = -(-len(part) // TILE_MULTIPLE) * TILE_MULTIPLE
            cosine = torch.mm(query, unit_tile(read(part), part, size).T).numpy()[:1, : len(part)].copy()
            cosine[0, part == row if with_same_perturbation else perturbation[part] == own] = 0
            for tail in tails:
                tail.offer(0, cosine, start)
                np.negative(cosine, out=cosine)
    mimics, reverses = (np.where(tail.candidate < 0, -1, rows[tail.candidate]) for tail in tails)
    return NeighborBlock(query_rows, rows, mimics, tails[0].similarity, reverses, -tails[1].similarity)
