"""What is kept of a ranking that streams by: the best genes, and how many genes score above known pairs."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertcast.analysis.drug_targets.known import Pairs

Scores = NDArray[np.float32]

ROWS_AT_ONCE: Final = 64
"""Rows of scores worked on together: they stay in the processor's cache."""
_BITS: Final = 64


def row_counts(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return (N,) how many of each row of (N, M) are true; packed bits are counted, not booleans added."""
    width = -(-mask.shape[1] // _BITS) * (_BITS // 8)
    bits = np.zeros((len(mask), width), dtype=np.uint8)
    packed = np.packbits(mask, axis=1)
    bits[:, : packed.shape[1]] = packed
    counts: NDArray[np.int64] = np.bitwise_count(bits.view(np.uint64)).sum(axis=1, dtype=np.int64)
    return counts


class BestGenes:
    """The K best genes of every query so far; equal scores in the order of genes.

    Parameters
    ----------
    n_queries
        Q.
    keep
        K.
    """

    def __init__(self, n_queries: int, keep: int) -> None:
        self.score = np.full((n_queries, keep), -np.inf, dtype=np.float32)
        self.gene = np.full((n_queries, keep), -1, dtype=np.int64)

    def add(self, queries: slice, gene: NDArray[np.int64], scores: Scores) -> None:
        """Take (D, M) scores into account; genes arrive in rising order."""
        score, kept = self.score[queries], self.gene[queries]
        if not score.shape[1]:
            return
        if scores.shape[1] > 4 * score.shape[1] and np.isneginf(score[:, -1]).any():
            half = len(gene) // 2
            self.add(queries, gene[:half], scores[:, :half])
            self.add(queries, gene[half:], scores[:, half:])
            return
        row, column = np.divmod(np.flatnonzero(scores > score[:, -1:]), scores.shape[1])
        if not len(row):
            return
        changed, first, count = np.unique(row, return_index=True, return_counts=True)
        place = np.arange(len(row)) - np.repeat(first, count)
        index = np.repeat(np.arange(len(changed)), count)
        new_score = np.full((len(changed), int(count.max())), -np.inf, dtype=np.float32)
        new_gene = np.full(new_score.shape, -1, dtype=np.int64)
        new_score[index, place], new_gene[index, place] = scores[row, column], gene[column]
        both = np.concatenate((score[changed], new_score), axis=1)
        order = np.argsort(-both, axis=1, kind="stable")[:, : score.shape[1]]
        score[changed] = np.take_along_axis(both, order, axis=1)
        genes = np.concatenate((kept[changed], new_gene), axis=1)
        kept[changed] = np.take_along_axis(genes, order, axis=1)


class PairRanks:
    """How many genes of its query's ranking score above each known pair, and how many equal it.

    Parameters
    ----------
    pairs
        P pairs.
    score
        (P,) float32 scores of the pairs; NaN for a pair that the board does not rank.
    n_perturbed
        Number of perturbed genes of the library.
    """

    def __init__(self, pairs: Pairs, score: Scores, n_perturbed: int) -> None:
        self.pairs = pairs
        self.score = score
        self.greater = np.zeros(len(pairs), dtype=np.int64)
        self.equal = np.zeros(len(pairs), dtype=np.int64)
        self._column = np.full(n_perturbed, -1, dtype=np.int64)

    def add(self, queries: slice, gene: NDArray[np.int64], scores: Scores) -> None:
        """Count the genes of (D, M) scores; a pair is not compared with itself."""
        start, stop = np.searchsorted(self.pairs.query, (queries.start, queries.stop))
        part = slice(int(start), int(stop))
        for first in range(part.start, part.stop, ROWS_AT_ONCE):
            self._count(slice(first, min(first + ROWS_AT_ONCE, part.stop)), queries.start, scores)
        self._column[gene] = np.arange(len(gene))
        own = self._column[self.pairs.gene[part]]
        here = np.flatnonzero(own >= 0)
        itself = scores[self.pairs.query[part][here] - queries.start, own[here]]
        self.greater[part.start + here] -= itself > self.score[part.start + here]
        self.equal[part.start + here] -= itself == self.score[part.start + here]
        self._column[gene] = -1

    def _count(self, part: slice, first_query: int, scores: Scores) -> None:
        found, score = scores[self.pairs.query[part] - first_query], self.score[part, None]
        self.greater[part] += row_counts(found > score)
        same = found == score
        if same.any():
            self.equal[part] += row_counts(same)
