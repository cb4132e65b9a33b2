"""The best candidates so far of every query: only what beats a query's last place is merged.

Comparing a tile with the last places is one pass; after a few tiles hardly anything passes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

PER_TAIL: Final = 25
"""Neighbours kept on each side."""

BYTES_PER_CANDIDATE: Final = 8
"""Bytes of one kept candidate: similarity and row."""


@dataclass(slots=True)
class RunningBest:
    """The most similar candidates so far of some queries, best first, ties in the order of candidates.

    Attributes
    ----------
    similarity
        (Q, K) float32, falling; 0 where there is no candidate yet.
    candidate
        (Q, K) int32, -1 where there is none yet.
    """

    similarity: NDArray[np.float32]
    candidate: NDArray[np.int32]

    @classmethod
    def empty(cls, n_queries: int, keep: int) -> RunningBest:
        """Start without candidates: only similarities above zero will count."""
        return cls(np.zeros((n_queries, keep), np.float32), np.full((n_queries, keep), -1, np.int32))

    def offer(self, first_query: int, similarity: NDArray[np.float32], first_candidate: int) -> None:
        """Take in the similarities of a tile.

        Parameters
        ----------
        first_query
            Place of the tile's first query.
        similarity
            (q, c) float32 in row or in column order, of consecutive queries and consecutive candidates.
            Each query must meet its candidates in rising order: that is how ties are settled.
        first_candidate
            Number of the tile's first candidate.
        """
        keep = self.similarity.shape[1]
        # A contiguous copy: comparing with every 25th number takes three times as long.
        last_place = self.similarity[first_query : first_query + len(similarity), -1].copy()
        query, candidate = _above(similarity, last_place, keep)
        if len(query):
            values = similarity[query, candidate]
            self._merge(query + first_query, values, (candidate + first_candidate).astype(np.int32))

    def _merge(
        self, query: NDArray[np.int64], similarity: NDArray[np.float32], candidate: NDArray[np.int32]
    ) -> None:
        """Merge candidates, sorted by query and candidate, into the rows of their queries."""
        keep = self.similarity.shape[1]
        start = np.flatnonzero(np.diff(query, prepend=-1))
        count = np.diff(start, append=len(query))
        changed = query[start]
        values = np.zeros((len(changed), keep + int(count.max())), np.float32)
        numbers = np.full(values.shape, -1, np.int32)
        values[:, :keep] = self.similarity[changed]
        numbers[:, :keep] = self.candidate[changed]
        line = np.repeat(np.arange(len(changed)), count)
        place = keep + np.arange(len(query)) - np.repeat(start, count)
        values[line, place] = similarity
        numbers[line, place] = candidate
        order = np.argsort(-values, axis=1, kind="stable")[:, :keep]
        self.similarity[changed] = np.take_along_axis(values, order, axis=1)
        self.candidate[changed] = np.take_along_axis(numbers, order, axis=1)


def _above(
    similarity: NDArray[np.float32], last_place: NDArray[np.float32], keep: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find what may enter: queries and candidates within the tile, sorted by query, then candidate."""
    enters = similarity > last_place[:, None]
    if np.count_nonzero(enters) <= keep * len(similarity):
        query, candidate = _places(enters)
        if not len(query) or np.bincount(query).max() <= 2 * keep:
            return query, candidate
    # While a query has few candidates, half of a tile passes: its own last place of the tile says more.
    crowded = np.flatnonzero(np.count_nonzero(enters, axis=1) > keep)
    values = similarity[crowded]
    last = similarity.shape[1] - keep
    enters[crowded] = values >= np.partition(values, last, axis=1)[:, last, None]
    return _places(enters)


def _places(chosen: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return row and column of what is true, in row order, without turning the table around."""
    if chosen.flags.c_contiguous:
        row, column = np.divmod(np.flatnonzero(chosen), chosen.shape[1])
        return row, column
    column, row = np.divmod(np.flatnonzero(chosen.T), chosen.shape[0])
    order = np.argsort(row.astype(np.uint16) if chosen.shape[0] <= 1 << 16 else row, kind="stable")
    return row[order], column[order]
