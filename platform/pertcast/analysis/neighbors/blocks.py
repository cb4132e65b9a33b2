"""The neighbours of all profiles of a screen, a block of queries at a time, in memory of fixed size.

A cosine serves both its profiles, so each pair of tiles is multiplied once; where even the candidates
of one stratum would be too many to keep, each of the two multiplies it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError
from pertcast_data.reading import ProfileReader

from pertcast.analysis.neighbors.best import BYTES_PER_CANDIDATE, PER_TAIL, RunningBest
from pertcast.analysis.neighbors.tiles import Tiles, tile_size
from pertcast.torch_threads import torch_threads

_TILE_ROWS: Final = 1024
_MEMORY_BYTES: Final = 128 * 1024**2
_FLOAT_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class NeighborBlock:
    """The neighbours of consecutive profiles of one stratum.

    Attributes
    ----------
    queries
        (Q,) int64, rows of the profiles in the screen.
    stratum
        (n,) int64, rows of all profiles that they were compared with, rising.
    mimic_rows, reverse_rows
        (Q, K) int64, rows of the neighbours, best first; -1 where there are fewer than K.
    mimic_cosine, reverse_cosine
        (Q, K) float32, above 0 for mimics and below 0 for reverses; 0 where there is no neighbour.
    """

    queries: NDArray[np.int64]
    stratum: NDArray[np.int64]
    mimic_rows: NDArray[np.int64]
    mimic_cosine: NDArray[np.float32]
    reverse_rows: NDArray[np.int64]
    reverse_cosine: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Plan:
    """How one stratum is gone through: tiles held at once, and whether a product serves both sides."""

    panel_tiles: int
    is_symmetric: bool


def neighbor_blocks(
    stratum: NDArray[np.integer],
    perturbation: NDArray[np.integer],
    read: ProfileReader,
    *,
    per_tail: int = PER_TAIL,
    block_rows: int = _TILE_ROWS,
    memory_bytes: int = _MEMORY_BYTES,
) -> Iterator[NeighborBlock]:
    """Find the most similar and the most opposite perturbations of every profile.

    Exact. Neighbours share the stratum, are another perturbation and no profile of zeros; ties are in the
    order of rows. Neither `block_rows` nor `memory_bytes` nor the number of threads changes a value.

    Parameters
    ----------
    stratum
        (N,) integers; profiles of equal ones (one cell line and perturbation type) are compared.
    perturbation
        (N,) integers; equal ones are the same perturbation, at whatever dose or time.
    read
        Returns the profiles (M, G) of rows (M,); called with neighbouring rows where a stratum is one run.
    per_tail
        Neighbours kept on each side.
    block_rows
        Profiles of a block and a tile, rounded up to a multiple of 64.
    memory_bytes
        Bound for the unit profiles and candidates held at once. A stratum that fits is read once; a larger
        one is read again for every part that fits. A tile is held whatever the bound.

    Yields
    ------
    NeighborBlock
        Stratum after stratum, in the order of their first rows; rows of a stratum in their order. Where each
        stratum is one run of rows, this is the order of the profiles.

    Raises
    ------
    SchemaError
        The codes differ in number, or a profile holds a value that is not finite.
    """
    if len(stratum) != len(perturbation):
        raise SchemaError(
            f"{len(stratum)} strata, but {len(perturbation)} perturbations: give one of each a profile."
        )
    for rows in _strata(stratum):
        codes = perturbation[rows].astype(np.int64, copy=False)
        tiles = Tiles(rows, codes, read, tile_size(block_rows, len(rows)))
        yield from _stratum_blocks(tiles, per_tail, memory_bytes)


def _strata(stratum: NDArray[np.integer]) -> list[NDArray[np.int64]]:
    """Return the rows of each stratum, ordered by its first."""
    order = np.argsort(stratum, kind="stable").astype(np.int64, copy=False)
    cuts = np.flatnonzero(np.diff(stratum[order])) + 1
    return sorted((part for part in np.split(order, cuts) if len(part)), key=lambda part: int(part[0]))


def _stratum_blocks(tiles: Tiles, per_tail: int, memory_bytes: int) -> Iterator[NeighborBlock]:
    """Go through one stratum, a panel of tiles held in memory at a time."""
    first_tile = tiles.unit(0)
    plan = _plan(tiles, first_tile.shape[1], per_tail, memory_bytes)
    n_kept = tiles.count if plan.is_symmetric else plan.panel_tiles
    tails = _empty_tails(n_kept * tiles.size, per_tail)
    for start in range(0, tiles.count, plan.panel_tiles):
        panel = range(start, min(start + plan.panel_tiles, tiles.count))
        if start and not plan.is_symmetric:
            tails = _empty_tails(n_kept * tiles.size, per_tail)
        first_kept = 0 if plan.is_symmetric else start
        with torch_threads(1):
            held = [first_tile if tile == 0 else tiles.unit(tile) for tile in panel]
            _compare_panel(tiles, panel, held, tails, first_kept, plan.is_symmetric)
        for tile in panel:
            yield _block(tiles, tile, tails, (tile - first_kept) * tiles.size)


def _plan(tiles: Tiles, n_genes: int, per_tail: int, memory_bytes: int) -> _Plan:
    profile, candidates = n_genes * _FLOAT_BYTES, 2 * per_tail * BYTES_PER_CANDIDATE
    kept = tiles.count * tiles.size * candidates
    is_symmetric = kept <= memory_bytes // 2
    for_profiles, per_profile = (
        (memory_bytes - kept, profile) if is_symmetric else (memory_bytes, profile + candidates)
    )
    panel_rows = for_profiles // per_profile
    return _Plan(min(max(1, panel_rows // tiles.size), tiles.count), is_symmetric)


def _empty_tails(n_queries: int, per_tail: int) -> tuple[RunningBest, RunningBest]:
    return RunningBest.empty(n_queries, per_tail), RunningBest.empty(n_queries, per_tail)


def _compare_panel(
    tiles: Tiles,
    panel: range,
    held: list[torch.Tensor],
    tails: tuple[RunningBest, RunningBest],
    first_kept: int,
    is_symmetric: bool,
) -> None:
    """Compare the tiles of a panel with all tiles, or with those not before it where products serve both.

    Columns rise, and rows within a column: every query meets its candidates in the order of rows.
    """
    for column in range(panel.start if is_symmetric else 0, tiles.count):
        profiles = held[column - panel.start] if column in panel else tiles.unit(column)
        for row in panel:
            if is_symmetric and row > column:
                break
            cosine = tiles.similarity(row, held[row - panel.start], column, profiles)
            for tail in tails:
                tail.offer((row - first_kept) * tiles.size, cosine, column * tiles.size)
                if is_symmetric and row != column:
                    tail.offer(column * tiles.size, cosine.T, row * tiles.size)
                np.negative(cosine, out=cosine)


def _block(tiles: Tiles, tile: int, tails: tuple[RunningBest, RunningBest], start: int) -> NeighborBlock:
    queries = tiles.rows_of(tile)
    kept = slice(start, start + len(queries))
    mimics, reverses = (
        np.where(tail.candidate[kept] < 0, -1, tiles.rows[tail.candidate[kept]]) for tail in tails
    )
    return NeighborBlock(
        queries,
        tiles.rows,
        mimics,
        tails[0].similarity[kept].copy(),
        reverses,
        -tails[1].similarity[kept],
    )
