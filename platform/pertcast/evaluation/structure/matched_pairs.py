"""Pairs of genes of a common set, and as many of none between genes that share sets with as many others.

Well-studied genes share sets with many others; matched pairs take this bias away from what is judged. Pairs
are drawn and never all listed at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.structure.pair_ranking import GenePairs

MOST_PAIRS: Final = 2_000_000
_BLOCK_GENES: Final = 512
_BLOCK_PAIRS: Final = 1 << 16
_FIRST_REACH: Final = 0.002
_GROWTH: Final = 1.4
_ROUNDS: Final = 24
_SMALL_PART: Final = 8


@dataclass(frozen=True)
class Membership:
    """Which of P genes are in which of S sets.

    Attributes
    ----------
    matrix
        (P, S) sparse, 1 where a gene is in a set.
    """

    matrix: sparse.csr_matrix

    @classmethod
    def of(cls, genes: Sequence[str], sets: Sequence[Sequence[str]]) -> Membership:
        """Look the members of sets up among distinct genes; others are left out."""
        place = {gene: index for index, gene in enumerate(genes)}
        entries = [(place[g], s) for s, members in enumerate(sets) for g in set(members) if g in place]
        rows, columns = np.array(sorted(entries), dtype=np.int64).reshape(-1, 2).T
        return cls(
            sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), (len(genes), len(sets)))
        )

    @property
    def n_genes(self) -> int:
        """P."""
        return int(self.matrix.shape[0])

    def partners(self) -> Iterator[tuple[IndexArray, IndexArray]]:
        """Yield (gene, other gene), other > gene, of a common set, blocks of genes at a time."""
        for start in range(0, self.n_genes, _BLOCK_GENES):
            shared = (self.matrix[start : start + _BLOCK_GENES] @ self.matrix.T).tocoo()
            first, second = shared.row.astype(np.int64) + start, shared.col.astype(np.int64)
            order = np.lexsort((second, first))
            first, second = first[order], second[order]
            yield first[second > first], second[second > first]

    def degree(self) -> tuple[IndexArray, int]:
        """Return (P,) with how many others each gene shares a set, and the number of such pairs."""
        degree = np.zeros(self.n_genes, np.int64)
        for first, second in self.partners():
            degree += np.bincount(first, minlength=self.n_genes)
            degree += np.bincount(second, minlength=self.n_genes)
        return degree, int(degree.sum()) // 2

    def is_together(self, first: IndexArray, second: IndexArray) -> NDArray[np.bool_]:
        """Return (M,) whether the genes of each pair share a set."""
        found = np.zeros(len(first), dtype=bool)
        for start in range(0, len(first), _BLOCK_PAIRS):
            part = slice(start, start + _BLOCK_PAIRS)
            both = self.matrix[first[part]].multiply(self.matrix[second[part]])
            found[part] = np.asarray(both.sum(axis=1)).ravel() > 0
        return found

    def drawn(self, count: int, total: int, random: np.random.Generator) -> tuple[IndexArray, IndexArray]:
        """Return about `count` of the `total` pairs of a common set, drawn evenly; or all."""
        wanted = _numbers(count, total, random)
        firsts, seconds, passed = [], [], 0
        for first, second in self.partners():
            inside = wanted[(wanted >= passed) & (wanted < passed + len(first))] - passed
            firsts.append(first[inside])
            seconds.append(second[inside])
            passed += len(first)
        return np.concatenate(firsts), np.concatenate(seconds)


def _numbers(count: int, total: int, random: np.random.Generator) -> IndexArray:
    """Return sorted distinct numbers below `total`; a few fewer than `count` of a much larger total."""
    if count >= total:
        return np.arange(total)
    if total > _SMALL_PART * count:
        return np.unique(random.integers(0, total, count))
    return np.sort(random.choice(total, count, replace=False))


def matched_pairs(
    membership: Membership, *, most: int = MOST_PAIRS, seed: int = 0
) -> tuple[GenePairs, FloatArray, int]:
    """Return pairs of a common set, each with one of no common set between genes of about the same degree.

    Parameters
    ----------
    membership
        Genes that are in some set.
    most
        Pairs of both kinds together; where more share a set, they are drawn evenly.
    seed
        Of the draws.

    Returns
    -------
    pairs
        Half of them together; a pair for which no match was found is left out.
    degree
        (P,) with how many others each gene shares a set.
    total
        Pairs of a common set that there are.
    """
    random = np.random.default_rng(seed)
    degree, total = membership.degree()
    first, second = membership.drawn(most // 2, total, random)
    left, right, found = _matches(membership, degree, first, second, random)
    both = np.r_[first[found], left[found]], np.r_[second[found], right[found]]
    is_together = np.arange(len(both[0])) < int(found.sum())
    pairs = GenePairs(membership.n_genes, both[0], both[1], is_together)
    return pairs, degree.astype(np.float64), total


def _matches(
    membership: Membership,
    degree: IndexArray,
    first: IndexArray,
    second: IndexArray,
    random: np.random.Generator,
) -> tuple[IndexArray, IndexArray, NDArray[np.bool_]]:
    """Draw for each pair two genes of about the same degree that share no set; say which were found.

    Genes are sought near those of the pair in the order of degree, farther off round after round.
    """
    last = len(degree) - 1
    order = np.argsort(degree, kind="stable")
    rank = np.empty(len(degree), np.int64)
    rank[order] = np.arange(len(degree))
    left, right = np.zeros_like(first), np.zeros_like(second)
    found = np.zeros(len(first), dtype=bool)
    reach = max(2.0, _FIRST_REACH * len(degree))
    for _ in range(_ROUNDS):
        open_ = np.flatnonzero(~found)
        if not len(open_):
            break
        width = int(min(reach, last))
        for drawn, given in ((left, first), (right, second)):
            place = np.abs(rank[given[open_]] + random.integers(-width, width + 1, len(open_)))
            drawn[open_] = order[np.where(place > last, 2 * last - place, place)]
        apart = left[open_] != right[open_]
        apart[apart] = ~membership.is_together(left[open_[apart]], right[open_[apart]])
        found[open_[apart]] = True
        reach *= _GROWTH
    return left, right, found
