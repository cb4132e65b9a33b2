"""How similar perturbed genes are: by their profiles, by features, by their neighbours in a network.

A profile is compared without the entries of the perturbed genes themselves.
Matrices are (P, P) over perturbed genes; sums over measured genes are taken in blocks of columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.rowwise import RELATIVE_ROUNDING
from pertcast.evaluation.units import add_by_label

_COLUMNS: Final = 512
_ROWS: Final = 256


@dataclass(frozen=True)
class PerturbedRows:
    """Which of P perturbed genes each of N profiles belongs to.

    Attributes
    ----------
    genes
        Names of the P perturbed genes, sorted.
    gene
        (N,) 0..P-1.
    pool
        (N,) profiles are centred within their pool (cell line).
    """

    genes: tuple[str, ...]
    gene: IndexArray
    pool: IndexArray

    @classmethod
    def of(cls, perturbed: Sequence[str], pool: IndexArray | None = None) -> PerturbedRows:
        """Return whose each profile is; one pool where none are given."""
        names, gene = np.unique(np.array(perturbed, dtype=str), return_inverse=True)
        pools = np.zeros(len(gene), np.int64) if pool is None else np.unique(pool, return_inverse=True)[1]
        return cls(tuple(names.tolist()), gene.astype(np.int64), pools.astype(np.int64))

    def average(self, values: FloatArray) -> FloatArray:
        """Return (P, C) means over the profiles of each gene, float64."""
        sums = np.zeros((len(self.genes), values.shape[1]))
        add_by_label(sums, self.gene, values)
        means: FloatArray = sums / np.bincount(self.gene, minlength=len(self.genes))[:, None]
        return means

    def centred(self, values: FloatArray, skipped: IndexArray) -> FloatArray:
        """Return (N, C) values minus their pool's mean; `skipped` (2, K) entries count for none and are 0."""
        kept = values.astype(np.float64)
        kept[skipped[0], skipped[1]] = 0.0
        present = np.ones_like(kept)
        present[skipped[0], skipped[1]] = 0.0
        sums, counts = (np.zeros((int(self.pool.max()) + 1, values.shape[1])) for _ in range(2))
        add_by_label(sums, self.pool, kept)
        add_by_label(counts, self.pool, present)
        result: FloatArray = (kept - (sums / np.maximum(counts, 1.0))[self.pool]) * present
        return result


@dataclass(frozen=True)
class _Sums:
    """Sums over measured genes of P centred profiles x, own entries 0.

    Attributes
    ----------
    product
        (P, P) sum of x_i x_j.
    total, square
        (P,) sums of x and of x squared.
    at_target
        (P, P) x_i at the own gene of j; 0 where that gene is not measured.
    is_measured
        (P,) whether the own gene is measured.
    scale
        (P,) largest absolute value before centring.
    n_measured
        G.
    """

    product: FloatArray
    total: FloatArray
    square: FloatArray
    at_target: FloatArray
    is_measured: FloatArray
    scale: FloatArray
    n_measured: int


def _sum_over_genes(profiles: FloatArray, rows: PerturbedRows, own_column: IndexArray) -> _Sums:
    n_perturbed, n_measured = len(rows.genes), profiles.shape[1]
    product, at_target = (np.zeros((n_perturbed, n_perturbed)) for _ in range(2))
    total, square, scale = (np.zeros(n_perturbed) for _ in range(3))
    column_of_row = own_column[rows.gene]
    for start in range(0, n_measured, _COLUMNS):
        stop = min(start + _COLUMNS, n_measured)
        inside = np.flatnonzero((column_of_row >= start) & (column_of_row < stop))
        own_entries = np.stack([inside, column_of_row[inside] - start])
        block = profiles[:, start:stop]
        np.maximum.at(scale, rows.gene, np.abs(block).max(axis=1))
        x = rows.average(rows.centred(block, own_entries))
        product += x @ x.T
        total += x.sum(axis=1)
        square += np.square(x).sum(axis=1)
        targets = np.flatnonzero((own_column >= start) & (own_column < stop))
        at_target[:, targets] = x[:, own_column[targets] - start]
    measured = (own_column >= 0).astype(np.float64)
    return _Sums(product, total, square, at_target, measured, scale, n_measured)


def profile_similarity(profiles: FloatArray, rows: PerturbedRows, genes: Sequence[str]) -> FloatArray:
    """Return (P, P) Pearson correlations of the perturbed genes' profiles, own entries left out.

    A profile is the mean over its rows of what differs from the mean of the row's pool: the response that all
    perturbations share tells no two genes apart. For the pair (i, j) the measured genes i and j are left out
    of both profiles, or a knock-down would be known by its own target. 0 where a profile is constant.

    Parameters
    ----------
    profiles
        (N, G) responses.
    rows
        Whose they are.
    genes
        Names of the G measured genes.
    """
    column = {gene: index for index, gene in enumerate(genes)}
    own_column = np.array([column.get(gene, -1) for gene in rows.genes], dtype=np.int64)
    sums = _sum_over_genes(profiles, rows, own_column)
    result = np.empty_like(sums.product)
    for start in range(0, len(result), _ROWS):
        result[start : start + _ROWS] = _correlations(sums, slice(start, start + _ROWS))
    return result


def _correlations(sums: _Sums, block: slice) -> FloatArray:
    """Return (B, P) correlations of some rows with all, the pair's own genes taken out of the sums."""
    measured = sums.is_measured
    count = sums.n_measured - measured[block][:, None] - measured[None, :]
    theirs, back = sums.at_target[block], sums.at_target[:, block].T
    totals = sums.total[block][:, None] - theirs, sums.total[None, :] - back
    squares = sums.square[block][:, None] - np.square(theirs), sums.square[None, :] - np.square(back)
    count = np.maximum(count, 1.0)
    spreads = [square - np.square(total) / count for square, total in zip(squares, totals, strict=True)]
    floor = np.square(RELATIVE_ROUNDING * sums.scale) * sums.n_measured
    defined = (spreads[0] > floor[block][:, None]) & (spreads[1] > floor[None, :])
    covariance = sums.product[block] - totals[0] * totals[1] / count
    result = np.zeros_like(covariance)
    scale = np.sqrt(np.where(defined, spreads[0] * spreads[1], 1.0))
    np.divide(covariance, scale, out=result, where=defined)
    return result


@dataclass(frozen=True)
class TypedRows:
    """Which profiles of P perturbed genes are of which perturbation type.

    Opposite types (a knock-out and an over-expression) would cancel in a mean over the rows of a gene.

    Attributes
    ----------
    n_genes
        P, distinct perturbed genes, in sorted order.
    parts
        Of each type: its rows (M,) of the N, whose they are, and the genes (Q,) among the P that it has.
    """

    n_genes: int
    parts: tuple[tuple[IndexArray, PerturbedRows, IndexArray], ...]

    @classmethod
    def of(
        cls, perturbed: Sequence[str], kinds: Sequence[str] | None = None, pool: IndexArray | None = None
    ) -> TypedRows:
        """Sort N profiles by their type; one type and one pool where none are given."""
        names = np.unique(np.array(perturbed, dtype=str))
        labels = np.array(kinds, dtype=str) if kinds is not None else np.zeros(len(perturbed), dtype=str)
        parts = []
        for kind in np.unique(labels):
            chosen = np.flatnonzero(labels == kind).astype(np.int64)
            rows = PerturbedRows.of(
                [perturbed[row] for row in chosen.tolist()], None if pool is None else pool[chosen]
            )
            parts.append((chosen, rows, np.searchsorted(names, rows.genes).astype(np.int64)))
        return cls(len(names), tuple(parts))

    @property
    def _shared(self) -> IndexArray:
        """(P, P) number of types that both genes of a pair have."""
        has = np.zeros((self.n_genes, len(self.parts)))
        for number, (_, _, place) in enumerate(self.parts):
            has[place, number] = 1
        return (has @ has.T).astype(np.int64)

    @property
    def comparable(self) -> NDArray[np.bool_]:
        """(P, P) whether two genes have a type in common."""
        result: NDArray[np.bool_] = self._shared > 0
        return result

    def similarity(self, profiles: FloatArray, genes: Sequence[str]) -> FloatArray:
        """Return (P, P) means of `profile_similarity` over the types that both genes have; 0 for no type."""
        if len(self.parts) == 1:
            return profile_similarity(profiles, self.parts[0][1], genes)
        total = np.zeros((self.n_genes, self.n_genes))
        for chosen, rows, place in self.parts:
            total[np.ix_(place, place)] += profile_similarity(profiles[chosen], rows, genes)
        mean: FloatArray = total / np.maximum(self._shared, 1)
        return mean


def feature_similarity(features: FloatArray, rows: PerturbedRows) -> FloatArray:
    """Return (P, P) cosine similarities of the perturbed genes' mean features (N, F); 0 for a zero vector."""
    means = rows.average(features)
    lengths = np.sqrt(np.square(means).sum(axis=1, keepdims=True))
    unit = np.divide(means, lengths, out=np.zeros_like(means), where=lengths > 0)
    similarity: FloatArray = unit @ unit.T
    return similarity


def neighbour_similarity(genes: Sequence[str], first: Sequence[str], second: Sequence[str]) -> FloatArray:
    """Return (P, P) Jaccard overlaps of the genes' neighbours in a network; a gene is its own neighbour.

    Parameters
    ----------
    genes
        The P perturbed genes.
    first, second
        The two ends of each undirected edge; any genes.
    """
    names, ends = np.unique(np.array([*genes, *first, *second], dtype=str), return_inverse=True)
    n, e = len(genes), len(first)
    mine, left, right = ends[:n], ends[n : n + e], ends[n + e :]
    everyone = np.arange(len(names))
    places = (np.r_[everyone, left, right], np.r_[everyone, right, left])
    adjacency = sparse.csr_matrix((np.ones(len(places[0])), places), (len(names), len(names)))
    neighbours = (adjacency > 0).astype(np.float64)[mine]
    shared = np.asarray((neighbours @ neighbours.T).todense())
    sizes = np.asarray(neighbours.sum(axis=1)).ravel()
    overlap: FloatArray = shared / (sizes[:, None] + sizes[None, :] - shared)
    return overlap
