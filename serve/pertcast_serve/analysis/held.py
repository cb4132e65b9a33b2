"""Profiles of a library that are kept in memory, so that only the first question reads them from disk.

Ranks are kept only once a score asks for them: cosines need none.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pertcast.analysis.connectivity import ConnectivityIndex, RankedBlock
from pertcast.analysis.connectivity.ranked import profile_lengths
from pertcast.analysis.enrichment import Ranks, gene_ranks, rank_dtype
from pertcast.screens.library import SearchedLibrary

HELD_BYTES: Final = 512 << 20
"""Most memory of one library, ranks included; a larger one is read in blocks, anew for each question."""

Rows = NDArray[np.int64]
Values = NDArray[np.floating[Any]]


class HeldProfiles:
    """Reads profiles that are in memory; neighbouring rows are not copied.

    Parameters
    ----------
    values
        (N, G) finite responses, float32, or float16 for half the memory.
    make_ranks
        Returns (N, G) the place of each gene; called once, when a score first asks for it.
    """

    def __init__(self, values: Values, make_ranks: Callable[[], Ranks]) -> None:
        self._values, self._make_ranks = values, make_ranks
        self._lengths = np.empty(len(values), np.float32)
        for start in range(0, len(values), 4096):
            part = slice(start, start + 4096)
            self._lengths[part] = profile_lengths(values[part].astype(np.float32, copy=False))
        self._ranks: Ranks | None = None
        self._lock = threading.Lock()

    def __call__(self, rows: Rows) -> RankedBlock:
        """Return the profiles of rows (M,), in the order asked for."""
        wanted: Rows | slice = rows
        if len(rows) and (np.diff(rows) == 1).all():
            wanted = slice(int(rows[0]), int(rows[-1]) + 1)
        return RankedBlock(self._values[wanted], lambda: self._all_ranks()[wanted], self._lengths[wanted])

    def _all_ranks(self) -> Ranks:
        with self._lock:
            if self._ranks is None:
                self._ranks = self._make_ranks()
            return self._ranks


def held_bytes(n_profiles: int, n_genes: int, dtype: np.dtype[Any]) -> int:
    """Return the memory of profiles with their ranks, in bytes."""
    return n_profiles * n_genes * (dtype.itemsize + np.dtype(rank_dtype(n_genes)).itemsize)


def in_memory(library: SearchedLibrary, most_bytes: int = HELD_BYTES) -> tuple[SearchedLibrary, int] | None:
    """Return a library with its profiles in memory, and the bytes it takes; None where they do not fit.

    float32 where that fits, which is compared fastest; else float16 where that changes no value.
    """
    source = library.index
    for dtype in (np.dtype(np.float32), np.dtype(np.float16)):
        n_bytes = held_bytes(source.n_profiles, source.n_genes, dtype)
        if n_bytes > most_bytes:
            continue
        values = _read_values(source, dtype)
        if values is None:
            return None
        held = HeldProfiles(values, lambda: _read_ranks(source))
        index = ConnectivityIndex(held, source.n_profiles, source.n_genes)
        return replace(library, index=index), n_bytes
    return None


def from_values(values: NDArray[np.float32]) -> ConnectivityIndex:
    """Index profiles (N, G) that were computed just now."""
    return ConnectivityIndex(HeldProfiles(values, lambda: gene_ranks(values)), *values.shape)


def _read_values(source: ConnectivityIndex, dtype: np.dtype[Any]) -> Values | None:
    """Read all profiles; None where `dtype` cannot hold what they are."""
    values: Values = np.empty((source.n_profiles, source.n_genes), dtype)
    for part, block in source.blocks():
        values[part] = block.values
        if dtype != np.float32 and not np.array_equal(values[part], block.values):
            return None
    return values


def _read_ranks(source: ConnectivityIndex) -> Ranks:
    ranks: Ranks = np.empty((source.n_profiles, source.n_genes), rank_dtype(source.n_genes))
    for part, block in source.blocks():
        ranks[part] = block.ranks
    return ranks
