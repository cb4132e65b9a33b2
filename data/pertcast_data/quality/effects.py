"""Do replicates agree, and is there an effect: replicate correlation, signature strength, TAS.

Formulas: Subramanian et al. 2017 (Cell 171), where CC is the 75th percentile of Spearman correlations. Here
CC is the mean Pearson correlation, which follows from sums and so needs one pass whatever the size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from pertcast_data.quality.design import Design, Lines
from pertcast_data.quality.line_sums import add_rows, fill_missing
from pertcast_data.quality.references import References
from pertcast_data.readers.source import ProfileBatch, as_dense
from pertcast_data.readers.spill import scratch_array

STRONG: Final = 2.0
"""|z| from which a gene counts towards signature strength."""

_BLOCK_VALUES: Final = 1 << 21
_ADDED_VALUES: Final = 1 << 18
"""Responses are made in blocks that a processor's cache holds, conditions are gone through in larger ones."""

FloatArray = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Strengths:
    """Statistics of groups of rows, (K,) each.

    Attributes
    ----------
    n_responses
        Rows with a response.
    correlation
        CC, see `pair_correlation` and `half_correlation`; NaN below two rows.
    strength
        SS: genes with |mean z| * sqrt(n) >= 2.
    activity
        TAS: sqrt(SS * max(CC, 0) / genes); NaN where CC is.
    """

    n_responses: NDArray[np.int64]
    correlation: NDArray[np.float64]
    strength: NDArray[np.int64]
    activity: NDArray[np.float64]


def pair_correlation(unit_sum: FloatArray, n_units: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the mean Pearson correlation over pairs of replicates, from the sum of their unit vectors.

    With u = (z - mean z) / |z - mean z| of each replicate, the correlation of two is u_i . u_j, and the mean
    over pairs is (|sum u|^2 - n) / (n (n - 1)).

    Parameters
    ----------
    unit_sum
        (K, G) sums of unit vectors.
    n_units
        (K,) how many were added.
    """
    squares = np.einsum("kg,kg->k", unit_sum, unit_sum, dtype=np.float64)
    pairs = n_units * (n_units - 1)
    return np.where(pairs > 0, (squares - n_units) / np.maximum(pairs, 1), np.nan)


def half_correlation(one: FloatArray, other: FloatArray) -> NDArray[np.float64]:
    """Return the reliability of a mean profile from the Pearson correlation r of the means of its halves.

    Spearman-Brown: 2 r / (1 + |r|), which tells for r >= 0 the correlation that two means of all profiles
    would have; a negative r is mirrored so that chance averages to 0.
    """
    one, other = (each - each.mean(axis=1, keepdims=True, dtype=np.float64) for each in (one, other))
    norms = np.sqrt(np.einsum("kg,kg->k", one, one) * np.einsum("kg,kg->k", other, other))
    r = np.einsum("kg,kg->k", one, other) / np.where(norms > 0, norms, np.nan)
    return np.asarray(2 * r / (1 + np.abs(r)), np.float64)


class EffectSums:
    """Sums over the responses of treated rows while they stream by.

    Two arrays of (2 * groups, G) float32 on disk, of the real groups and of the null's: with method "pairs"
    the sums of z and of unit vectors, with "halves" the sums of levels in each half, from which control
    means are taken afterwards (the halves of a condition against different halves of the controls, so
    that they do not share their error).
    """

    def __init__(self, design: Design, references: References, spreads: NDArray[np.float32]) -> None:
        self._design, self._references, self._spreads = design, references, spreads
        self.n_genes = spreads.shape[1]
        self._responds = design.has_response
        self._group = design.control_group
        self._parts = [
            (lines, scratch_array((2 * len(lines.conditions), self.n_genes), np.float32))
            for lines in (design.real, design.null)
        ]
        self._n_units = [np.zeros(len(lines.conditions), np.int64) for lines, _ in self._parts]

    def add(self, first: int, piece: ProfileBatch) -> None:
        """Add normalised profiles of the rows from `first` on."""
        at = slice(first, first + piece.shape[0])
        wanted = self._responds[at] & (
            (self._design.real.group_of_row[at] >= 0) | (self._design.null.group_of_row[at] >= 0)
        )
        chosen = np.flatnonzero(wanted)
        if not len(chosen):
            return
        rows = piece if len(chosen) == piece.shape[0] else piece[chosen]
        chosen = first + chosen
        if self._design.method == "halves":
            rows = fill_missing(rows, self._references.fill, self._group[chosen])
            self._add_levels(chosen, rows)
            return
        step = max(1, _ADDED_VALUES // self.n_genes)
        for start in range(0, len(chosen), step):
            self._add_pairs(chosen[start : start + step], rows[start : start + step])

    def _add_levels(self, chosen: NDArray[np.int64], rows: ProfileBatch) -> None:
        half = self._design.half_of_row[chosen]
        for lines, sums in self._parts:
            group = lines.group_of_row[chosen]
            own = np.flatnonzero(group >= 0)
            add_rows(sums, 2 * group[own].astype(np.int64) + half[own], own, rows)

    def _add_pairs(self, chosen: NDArray[np.int64], rows: ProfileBatch) -> None:
        # z and its unit vector lie side by side, as the two lines of a group do: they are added as one.
        both = np.empty((len(chosen), 2, self.n_genes), np.float32)
        z, unit = both[:, 0], both[:, 1]
        z[:] = as_dense(rows)
        if self._references.fill is not None:
            z -= self._references.fill[self._group[chosen]]
        z /= self._spreads[self._design.context_of_row[chosen]]
        z[~np.isfinite(z)] = 0
        np.subtract(z, z.mean(axis=1, keepdims=True), out=unit)
        norms = np.sqrt(np.einsum("ng,ng->n", unit, unit))
        tells = norms > 0
        unit /= np.where(tells, norms, 1)[:, None]
        for (lines, sums), n_units in zip(self._parts, self._n_units, strict=True):
            group = lines.group_of_row[chosen]
            own = np.flatnonzero(group >= 0)
            pairs = sums.reshape(-1, 2 * self.n_genes)
            add_rows(pairs, group[own], own, both.reshape(len(both), -1))
            n_units += np.bincount(group[own][tells[own]], minlength=len(n_units))

    def blocks(self, which: int) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.float64]]]:
        """Yield (groups, their mean z, their CC), some groups at a time; `which` is 0 (real) or 1 (null)."""
        lines, sums = self._parts[which]
        step = max(1, _BLOCK_VALUES // (2 * self.n_genes))
        sizes = lines.sizes(self._responds)
        for start in range(0, len(lines.conditions), step):
            groups = slice(start, min(start + step, len(lines.conditions)))
            block = np.asarray(sums[2 * groups.start : 2 * groups.stop])
            if self._design.method == "pairs":
                mean = block[0::2] / np.maximum(sizes[groups], 1)[:, None]
                yield (
                    groups,
                    mean.astype(np.float32),
                    pair_correlation(block[1::2], self._n_units[which][groups]),
                )
            else:
                yield groups, *self._from_halves(lines, groups, block)

    def _from_halves(
        self, lines: Lines, groups: slice, block: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        n = groups.stop - groups.start
        is_own = self._responds & (lines.group_of_row >= groups.start) & (lines.group_of_row < groups.stop)
        rows = np.flatnonzero(is_own)
        line = 2 * (lines.group_of_row[rows].astype(np.int64) - groups.start) + self._design.half_of_row[rows]
        sizes = np.bincount(line, minlength=2 * n)[:, None]
        spread = self._spreads[self._design.context_of_condition[lines.conditions[groups]]]
        halves = self._less_controls(block, line, rows, own_half=True) / np.maximum(sizes, 1)
        z = halves.reshape(n, 2, -1) / spread[:, None]
        correlation = half_correlation(z[:, 0], z[:, 1])
        correlation[(sizes.reshape(n, 2) == 0).any(axis=1)] = np.nan
        both = block[0::2].astype(np.float64) + block[1::2]
        total = np.maximum(sizes.reshape(n, 2).sum(axis=1, keepdims=True), 1)
        mean = self._less_controls(both, line // 2, rows, own_half=False) / total / spread
        return mean.astype(np.float32), correlation

    def _less_controls(
        self, sums: FloatArray, line: NDArray[np.int64], rows: NDArray[np.int64], own_half: bool
    ) -> FloatArray:
        """Subtract from sums of levels the sums of the rows' control means."""
        if self._references.fill is None:
            return sums
        means = self._references.halves if own_half else self._references.fill
        column = self._group[rows].astype(np.int64)
        column = 2 * column + self._design.half_of_row[rows] if own_half else column
        shape = (len(sums), len(means))
        taken = sparse.csr_matrix((np.ones(len(rows)), (line, column)), shape=shape)
        less: FloatArray = sums - taken @ np.asarray(means)
        return less

    def sizes(self, which: int) -> NDArray[np.int64]:
        """Return how many rows with a response each group has."""
        return self._parts[which][0].sizes(self._responds)


def strengths_of(
    sums: EffectSums, which: int, visit: Callable[[slice, NDArray[np.float32]], None] | None = None
) -> Strengths:
    """Return the statistics of all real (0) or null (1) groups.

    Parameters
    ----------
    sums
        After the last row was added.
    which
        0 or 1.
    visit
        Called with (groups, mean z) of each block, so that others need not go through them again.
    """
    sizes = sums.sizes(which)
    correlation, strength = np.full(len(sizes), np.nan), np.zeros(len(sizes), np.int64)
    for groups, mean, found in sums.blocks(which):
        weighted = np.abs(mean) * np.sqrt(sizes[groups])[:, None]
        strength[groups] = np.count_nonzero(weighted >= STRONG, axis=1)
        correlation[groups] = found
        if visit is not None:
            visit(groups, mean)
    correlation[sizes < 2] = np.nan
    activity = np.sqrt(strength * np.maximum(correlation, 0) / sums.n_genes)
    return Strengths(sizes, correlation, strength, activity)
