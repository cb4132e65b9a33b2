"""Random gene sets as places in a ranking: drawn once, scored in every profile of a block at once.

A random set of genes takes random places in any profile, so one draw serves all profiles and none is sorted
for it: place by place, a running sum visits all draws and profiles of a block together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

BLOCK_PROFILES: Final = 64
"""Profiles of a block. Always as many, so that every profile is computed in the same way."""
_DRAWS_AT_ONCE: Final = 512
_CANDIDATES: Final = 16
"""Sets drawn for each that is kept."""
_MARKS_AT_ONCE: Final = 1 << 22


@dataclass(frozen=True)
class RandomPlaces:
    """Draws of random sets of one size.

    Attributes
    ----------
    places
        (K, D) intp, places of the K members of each draw, rising.
    falls
        (K, D) float32, how far the running sum falls before each member: genes passed / (G - K).
    """

    places: NDArray[np.intp]
    falls: NDArray[np.float32]

    @classmethod
    def draw(cls, size: int, n_genes: int, n_draws: int, rng: np.random.Generator) -> RandomPlaces:
        """Draw sets that stand for all sets of their size as evenly as possible.

        Sixteen times as many are drawn, sorted by their score in a profile of normal quantiles, and every
        sixteenth is kept (systematic sampling): the kept ones hardly differ from one seed to another.
        """
        candidates = _subsets(size, n_genes, n_draws * _CANDIDATES, rng)
        reference = np.abs(ndtri((np.arange(n_genes, 0, -1) - 0.5) / n_genes)).astype(np.float32)
        scores = np.empty(len(candidates), dtype=np.float32)
        for start in range(0, len(candidates), n_draws):
            part = slice(start, start + n_draws)
            scores[part] = cls._of(candidates[part], n_genes).scores(reference[:, None])[:, 0]
        kept = np.argsort(scores, kind="stable")[_CANDIDATES // 2 :: _CANDIDATES]
        return cls._of(candidates[kept], n_genes)

    @classmethod
    def _of(cls, places: NDArray[np.intp], n_genes: int) -> RandomPlaces:
        """Make draws of places (D, K)."""
        size = places.shape[1]
        passed = np.diff(places, axis=1, prepend=-1) - 1
        falls = (passed / (n_genes - size)).astype(np.float32)
        return cls(np.ascontiguousarray(places.T), np.ascontiguousarray(falls.T))

    def scores(self, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the enrichment score of each draw in each profile.

        Parameters
        ----------
        weights
            (G, n) float32, |x| of the genes of each profile from highest to lowest.

        Returns
        -------
        ndarray
            (D, n) float32; 0 where all weights of a draw are zero.
        """
        found = np.empty((self.places.shape[1], weights.shape[1]), dtype=np.float32)
        for start in range(0, len(found), _DRAWS_AT_ONCE):
            part = slice(start, start + _DRAWS_AT_ONCE)
            found[part] = self._scores_of(part, weights)
        return found

    def _scores_of(self, part: slice, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        places, falls = self.places[:, part], self.falls[:, part, None]
        shape = (places.shape[1], weights.shape[1])
        total, step = np.zeros(shape, dtype=np.float32), np.empty(shape, dtype=np.float32)
        for place in places:
            # Places are valid by construction; "clip" lets numpy write into `step` without a copy.
            weights.take(place, axis=0, out=step, mode="clip")
            total += step
        share = np.divide(1, total, out=np.zeros(shape, dtype=np.float32), where=total > 0)
        current, top, bottom = (np.zeros(shape, dtype=np.float32) for _ in range(3))
        for place, fall in zip(places, falls, strict=True):
            current -= fall
            np.minimum(bottom, current, out=bottom)
            weights.take(place, axis=0, out=step, mode="clip")
            step *= share
            current += step
            np.maximum(top, current, out=top)
        return np.where(total > 0, np.where(top > -bottom, top, bottom), np.float32(0))


def _subsets(size: int, n_genes: int, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw subsets of `size` of the numbers below `n_genes`, (count, size), rising (Floyd's algorithm)."""
    found = np.empty((count, size), dtype=np.intp)
    rows = max(1, _MARKS_AT_ONCE // n_genes)
    for start in range(0, count, rows):
        at = np.arange(min(rows, count - start))
        is_member = np.zeros((len(at), n_genes), dtype=bool)
        for last in range(n_genes - size, n_genes):
            drawn = rng.integers(0, last + 1, len(at))
            is_member[at, np.where(is_member[at, drawn], last, drawn)] = True
        found[start : start + len(at)] = (np.flatnonzero(is_member) % n_genes).reshape(-1, size)
    return found
