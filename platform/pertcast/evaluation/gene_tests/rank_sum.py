"""Wilcoxon rank-sum tests of many genes at once: cells of a condition against controls that are sorted once.

Values other than zero become one ascending list of keys (gene, value); zeros are one block of ties a gene. A
condition then costs one sort of its own values and one search in the controls' list, whatever their number.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from pertcast.evaluation.held_out import FloatArray

Keys = NDArray[np.uint64]
Counts = NDArray[np.int64]

_SIGN: Final = np.uint32(1 << 31)
_GENE_SHIFT: Final = np.uint64(32)


@dataclass(frozen=True)
class RankSum:
    """Tests of G genes.

    Attributes
    ----------
    u
        (G,) float64 Mann-Whitney U of the cells: pairs (cell, control) where the cell is larger, ties half.
    z
        (G,) float64 standardised, with tie and continuity correction: positive where the cells are larger; 0
        where all values are equal.
    p_value
        (G,) float64, two-sided, of the normal approximation.
    """

    u: FloatArray
    z: FloatArray
    p_value: FloatArray


class SortedPopulation:
    """The cells of one group, sorted gene by gene.

    Parameters
    ----------
    cells
        (n, G) values, compared as float32; G < 2^32.
    """

    def __init__(self, cells: FloatArray) -> None:
        self.n_cells, self.n_genes = cells.shape
        values = np.ascontiguousarray(cells.T, dtype=np.float32)
        values.sort(axis=1)
        self._zero = np.count_nonzero(values == 0, axis=1).astype(np.int64)
        self._negative = np.count_nonzero(values < 0, axis=1).astype(np.int64)
        kept = values != 0
        self._keys = _to_keys(values[kept], self.n_cells - self._zero)

    @cached_property
    def _starts(self) -> Counts:
        """(G + 1,) where each gene's keys start."""
        starts: Counts = np.r_[0, np.cumsum(self.n_cells - self._zero)].astype(np.int64)
        return starts

    @cached_property
    def _lasts(self) -> Counts:
        """Where the runs of equal keys have their last key."""
        differs = self._keys[1:] != self._keys[:-1]
        return np.flatnonzero(np.r_[differs, np.ones(min(1, len(self._keys)), dtype=bool)]).astype(np.int64)

    @cached_property
    def _run_ends(self) -> Counts:
        """(K,) for each key, where its run of equal keys ends."""
        lasts = self._lasts
        ends: Counts = np.repeat(lasts + 1, np.diff(np.r_[-1, lasts])).astype(np.int64)
        return ends

    @cached_property
    def _ties(self) -> FloatArray:
        """(G,) sum of t^3 - t over the runs of t equal values, zeros left out."""
        return self._by_gene(self._lasts, _cubed(np.diff(np.r_[-1, self._lasts])))

    def _by_gene(self, places: Counts, values: FloatArray) -> FloatArray:
        genes = (self._keys[places] >> _GENE_SHIFT).astype(np.int64)
        return np.bincount(genes, values, self.n_genes).astype(np.float64)

    def test_against(self, controls: SortedPopulation) -> RankSum:
        """Test every gene of these cells against controls, as ``scipy.stats.mannwhitneyu(cells, controls)``.

        Method "asymptotic", two-sided, with continuity correction; NaN where a group is empty.
        """
        times = np.diff(np.r_[-1, self._lasts])
        distinct = self._keys[self._lasts]
        genes = (distinct >> _GENE_SHIFT).astype(np.int64)
        below = np.searchsorted(controls._keys, distinct)
        equal = _run_lengths(controls, distinct, below)
        positive = (distinct & np.uint64(_SIGN)) != 0
        smaller = below - controls._starts[genes] + np.where(positive, controls._zero[genes], 0)
        pairs = np.bincount(genes, times * (smaller + 0.5 * equal), self.n_genes).astype(np.float64)
        u = pairs + self._zero * (controls._negative + 0.5 * controls._zero)
        joined = _cubed(times + equal) - _cubed(equal)
        ties = controls._ties + np.bincount(genes, joined, self.n_genes) + _cubed(self._zero + controls._zero)
        return _standardise(u, ties, self.n_cells, controls.n_cells)


def _to_keys(values: NDArray[np.float32], of_gene: Counts) -> Keys:
    """Return keys that sort by gene, then by value; values lie gene by gene, `of_gene` (G,) of each."""
    bits = values.view(np.uint32)
    negative = (values.view(np.int32) >> 31).view(np.uint32)
    genes = np.arange(len(of_gene), dtype=np.uint64) << _GENE_SHIFT
    keys: Keys = np.repeat(genes, of_gene)
    keys |= bits ^ (negative | _SIGN)
    return keys


def _run_lengths(population: SortedPopulation, keys: Keys, places: Counts) -> Counts:
    """Return how often each of `keys` occurs in a population, given where it would be inserted."""
    lengths: Counts = np.zeros(len(keys), dtype=np.int64)
    if len(population._keys):
        inside = np.minimum(places, len(population._keys) - 1)
        found = population._keys[inside] == keys
        lengths[found] = population._run_ends[inside[found]] - places[found]
    return lengths


def _cubed(count: Counts) -> FloatArray:
    """Return t^3 - t in float64."""
    t = count.astype(np.float64)
    return t * t * t - t


def _standardise(u: FloatArray, ties: FloatArray, n: int, m: int) -> RankSum:
    if n == 0 or m == 0:
        nothing = np.full(len(u), np.nan)
        return RankSum(nothing, nothing, nothing)
    total = n + m
    variance = n * m / 12.0 * ((total + 1) - ties / (total * (total - 1)))
    away = u - n * m / 2.0
    testable = variance > 0
    z = np.full(len(u), -np.inf)
    np.divide(
        np.abs(away) - 0.5, np.sqrt(variance, where=testable, out=np.ones_like(u)), out=z, where=testable
    )
    p_value = np.minimum(2.0 * ndtr(-z), 1.0)
    signed = np.sign(away) * np.maximum(np.where(testable, z, 0.0), 0.0)
    return RankSum(u, signed, p_value)
