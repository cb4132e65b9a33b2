"""Similarity of chosen pairs of perturbed genes, from profiles that are read a block of genes at a time.

The same numbers as `profile_similarity` gives for all pairs, in memory that does not grow with the genes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from pertcast_data.reading import ProfileReader

from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.rowwise import RELATIVE_ROUNDING
from pertcast.evaluation.structure.profile_similarity import PerturbedRows
from pertcast.evaluation.units import add_by_label

BLOCK_GENES: Final = 2048
_BLOCK_PAIRS: Final = 4096
_BLOCK_ROWS: Final = 4096


class StreamedProfiles:
    """Centred mean profiles of perturbed genes, made when they are asked for.

    Parameters
    ----------
    read
        Reads profiles by row.
    rows
        Whose the N profiles are, and the pool within which each is centred.
    places
        (N,) their rows as `read` numbers them.
    genes
        Names of the G measured genes.
    """

    def __init__(
        self, read: ProfileReader, rows: PerturbedRows, places: IndexArray, genes: Sequence[str]
    ) -> None:
        column = {gene: index for index, gene in enumerate(genes)}
        self.own_column = np.array([column.get(gene, -1) for gene in rows.genes], dtype=np.int64)
        self._read, self._rows, self._places = read, rows, places
        self._by_gene = np.argsort(rows.gene, kind="stable")
        self._ends = np.searchsorted(rows.gene[self._by_gene], np.arange(len(rows.genes) + 1))
        self._pool_means = self._means_of_pools(len(genes))

    @property
    def n_genes(self) -> int:
        """P, perturbed genes."""
        return len(self._rows.genes)

    def _means_of_pools(self, n_measured: int) -> FloatArray:
        pools = int(self._rows.pool.max()) + 1
        sums, counts = np.zeros((pools, n_measured)), np.zeros((pools, n_measured))
        for start in range(0, len(self._places), _BLOCK_ROWS):
            chosen = np.arange(start, min(start + _BLOCK_ROWS, len(self._places)))
            values, own = self._values(chosen)
            present = np.ones_like(values)
            present[own] = 0.0
            add_by_label(sums, self._rows.pool[chosen], values)
            add_by_label(counts, self._rows.pool[chosen], present)
        means: FloatArray = sums / np.maximum(counts, 1.0)
        return means

    def _values(self, chosen: IndexArray) -> tuple[FloatArray, tuple[IndexArray, IndexArray]]:
        """Read some of the N profiles, own entries 0; return also where those are."""
        values = np.empty((len(chosen), 0))
        pools = self._rows.pool[chosen]
        for pool in np.unique(pools):
            mine = np.flatnonzero(pools == pool)
            order = mine[np.argsort(self._places[chosen[mine]])]
            block = self._read(self._places[chosen[order]])
            if not values.shape[1]:
                values = np.empty((len(chosen), block.shape[1]))
            values[order] = block
        column = self.own_column[self._rows.gene[chosen]]
        own = np.flatnonzero(column >= 0), column[column >= 0]
        values[own] = 0.0
        return values, own

    def block(self, start: int) -> tuple[FloatArray, FloatArray]:
        """Return (B, G) centred mean profiles of genes `start`..., and (B,) their largest values before."""
        stop = min(start + BLOCK_GENES, self.n_genes)
        chosen = self._by_gene[self._ends[start] : self._ends[stop]]
        values, own = self._values(chosen)
        gene = self._rows.gene[chosen] - start
        scale = np.zeros(stop - start)
        np.maximum.at(scale, gene, np.abs(values).max(axis=1))
        values -= self._pool_means[self._rows.pool[chosen]]
        values[own] = 0.0
        sums = np.zeros((stop - start, values.shape[1]))
        add_by_label(sums, gene, values)
        means: FloatArray = sums / np.bincount(gene, minlength=stop - start)[:, None]
        return means, scale


def pair_similarity(profiles: StreamedProfiles, first: IndexArray, second: IndexArray) -> FloatArray:
    """Return (M,) Pearson correlations of pairs of genes, the entries of both genes left out.

    0 where a profile is constant; see `profile_similarity`.

    Parameters
    ----------
    profiles
        Of P genes.
    first, second
        (M,) two different genes of each pair.
    """
    found = np.zeros(len(first))
    for left, right, chosen in _block_pairs(first, second):
        one, scale_one = profiles.block(left * BLOCK_GENES)
        two, scale_two = (one, scale_one) if left == right else profiles.block(right * BLOCK_GENES)
        for start in range(0, len(chosen), _BLOCK_PAIRS):
            part = chosen[start : start + _BLOCK_PAIRS]
            i, j = first[part], second[part]
            swapped = i // BLOCK_GENES != left
            i, j = np.where(swapped, j, i), np.where(swapped, i, j)
            a, b = i - left * BLOCK_GENES, j - right * BLOCK_GENES
            own = profiles.own_column[i], profiles.own_column[j]
            found[part] = _correlations(one[a], two[b], own, (scale_one[a], scale_two[b]))
    return found


def _block_pairs(first: IndexArray, second: IndexArray) -> Iterator[tuple[int, int, IndexArray]]:
    """Yield two blocks of genes and the pairs between them."""
    low = np.minimum(first, second) // BLOCK_GENES
    high = np.maximum(first, second) // BLOCK_GENES
    key = low * (int(high.max(initial=0)) + 1) + high
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(key[order]) != 0]) if len(order) else np.zeros(0, np.int64)
    for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
        chosen = order[start:stop]
        yield int(low[chosen[0]]), int(high[chosen[0]]), chosen


def _correlations(
    one: FloatArray,
    two: FloatArray,
    own: tuple[IndexArray, IndexArray],
    scales: tuple[FloatArray, FloatArray],
) -> FloatArray:
    """Return (M,) correlations of the rows of (M, G) and (M, G) without the columns `own` of either."""
    for column in own:
        rows = np.flatnonzero(column >= 0)
        one[rows, column[rows]] = 0.0
        two[rows, column[rows]] = 0.0
    n_measured = one.shape[1]
    count = np.maximum(n_measured - sum((column >= 0).astype(np.float64) for column in own), 1.0)
    totals = one.sum(axis=1), two.sum(axis=1)
    product = np.einsum("mg,mg->m", one, two) - totals[0] * totals[1] / count
    spreads = [
        np.einsum("mg,mg->m", values, values) - np.square(total) / count
        for values, total in zip((one, two), totals, strict=True)
    ]
    floors = [np.square(RELATIVE_ROUNDING * scale) * n_measured for scale in scales]
    defined = (spreads[0] > floors[0]) & (spreads[1] > floors[1])
    scale = np.sqrt(np.where(defined, spreads[0] * spreads[1], 1.0))
    result: FloatArray = np.where(defined, product / scale, 0.0)
    return result


def pair_cosine(features: FloatArray, first: IndexArray, second: IndexArray) -> FloatArray:
    """Return (M,) cosines of pairs of the P rows of features (P, F); 0 for a row of zeros."""
    lengths = np.sqrt(np.square(features, dtype=np.float64).sum(axis=1, keepdims=True))
    unit = np.divide(features, lengths, out=np.zeros(features.shape), where=lengths > 0)
    found = np.empty(len(first))
    for start in range(0, len(first), _BLOCK_PAIRS):
        part = slice(start, start + _BLOCK_PAIRS)
        found[part] = np.einsum("mf,mf->m", unit[first[part]], unit[second[part]])
    return found
