"""What a profile is compared with: the mean of its matched controls, and the spread of controls by gene."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from pertcast_data.loading.control_pairing import ControlPairing
from pertcast_data.quality.design import Design
from pertcast_data.quality.line_sums import add_rows, normalised
from pertcast_data.readers.source import ProfileBatch, as_dense, stored_values
from pertcast_data.readers.spill import scratch_array
from pertcast_data.vocabulary import Normalisation

_SAMPLE_ROWS: Final = 2_000
_ENOUGH: Final = 20
_MAD_TO_DEVIATION: Final = 1.4826
_FLOOR_QUANTILE: Final = 0.1
_GENES_AT_ONCE: Final = 512


class References:
    """Sums over controls while they stream by, then means and spreads.

    Levels (measure "expression"): each control belongs to the groups that treated rows are matched with, and
    to one of two halves of its own group. The spread is that of controls about the mean of their own group,
    by context: 1.4826 * median absolute deviation for intensities where a context has 20 controls or more,
    else the standard deviation (the median of a count is often 0); contexts with fewer than 20 take the
    spread over all contexts. A tenth of the genes spread least: they get the tenth percentile, so that a gene
    that no control shows does not count as infinitely far.

    Responses: z-scores are taken as they are (spread 1). Others are divided by 1.4826 * median absolute
    deviation of the controls, or of all rows where there are not 20 controls.
    """

    def __init__(self, design: Design, n_genes: int, normalisation: Normalisation, seed: int) -> None:
        self._design, self._n_genes = design, n_genes
        self._pairing, self._normalisation = design.pairing, normalisation
        self._is_robust = normalisation in ("log2_intensity", "log_fold_change")
        self._is_given = design.pairing is None and normalisation == "z_score"
        n_groups = 0 if design.pairing is None else design.pairing.n_groups
        self._sums = scratch_array((3 * n_groups, n_genes), np.float64)
        self._squares = np.zeros((len(design.contexts), n_genes))
        self._missing: NDArray[Any] | None = None
        self._pair_of_row = _pairs_by_row(design.pairing)
        self._sample = self._drawn(seed)
        self._profiles = scratch_array((len(self._sample), n_genes), np.float32)
        self.fill: NDArray[Any] | None = None
        self.halves: NDArray[Any] = np.zeros((0, n_genes))

    def _drawn(self, seed: int) -> NDArray[np.int64]:
        if not self._is_robust:
            return np.zeros(0, np.int64)
        controls = np.flatnonzero(self._design.is_control)
        if self._pairing is None and len(controls) < _ENOUGH:
            controls = np.arange(self._design.obs.height)
        if len(controls) <= _SAMPLE_ROWS:
            return controls
        chosen = np.random.default_rng([seed, 2]).choice(controls, _SAMPLE_ROWS, replace=False)
        return np.sort(chosen)

    def add(self, first: int, piece: ProfileBatch) -> None:
        """Add stored profiles of the rows from `first` on; only those needed are normalised."""
        last = first + piece.shape[0]
        begin, end = np.searchsorted(self._sample, [first, last])
        if end > begin:
            rows = self._sample[begin:end] - first
            self._profiles[begin:end] = as_dense(normalised(piece[rows], self._normalisation))
        if self._pairing is None:
            return
        begin, end = np.searchsorted(self._pair_of_row[0], [first, last])
        if end == begin:
            return
        rows, groups = self._pair_of_row[0][begin:end], self._pair_of_row[1][begin:end]
        own = np.unique(rows)
        own_group = self._pairing.group_of_row[own].astype(np.int64)
        lines = np.concatenate([3 * groups + self._design.half_of_row[rows], 3 * own_group + 2])
        at = np.concatenate([np.searchsorted(own, rows), np.arange(len(own))])
        controls = self._whole(lines, at, normalised(piece[own - first], self._normalisation))
        add_rows(self._sums, lines, at, controls)
        squares = controls.multiply(controls) if sparse.issparse(controls) else np.square(controls)
        add_rows(self._squares, self._design.context_of_row[own], np.arange(len(own)), squares)

    def _whole(self, lines: NDArray[np.int64], at: NDArray[np.int64], controls: ProfileBatch) -> Any:
        """Count missing values by line, and return the controls with zeros in their place."""
        if np.isfinite(stored_values(controls)).all():
            return controls.astype(np.float64)
        if self._missing is None:
            self._missing = scratch_array(self._sums.shape, np.float64)
        dense = np.asarray(as_dense(controls), np.float64)
        add_rows(self._missing, lines, at, (~np.isfinite(dense)).astype(np.float64))
        return np.nan_to_num(dense, nan=0.0, posinf=0.0, neginf=0.0)

    def finish(self) -> NDArray[np.float32]:
        """Turn sums into means; return (n_contexts, G) spreads, NaN where none can be told.

        Afterwards `fill` is (n_groups, G) the mean of each group, and `halves` (2 * n_groups, G) those of its
        halves; a half without controls has the mean of all.
        """
        shape = (len(self._design.contexts), self._n_genes)
        if self._is_given:
            return np.ones(shape, np.float32)
        if self._pairing is None:
            deviation = self._deviation_of_sample(None)
            unknown = np.full(self._n_genes, np.nan)
            return np.broadcast_to(_floored(unknown if deviation is None else deviation), shape).copy()
        pairing, n_groups = self._pairing, self._pairing.n_groups
        counts = self._line_counts(pairing)
        self.halves = scratch_array((2 * n_groups, self._n_genes), np.float64)
        self.fill = scratch_array((n_groups, self._n_genes), np.float64)
        squares = self._squares.copy()
        contexts = self._context_of_group(pairing)
        for group in range(n_groups):
            block = self._sums[3 * group : 3 * group + 3]
            n = counts[3 * group : 3 * group + 3, None]
            if self._missing is not None:
                n = n - self._missing[3 * group : 3 * group + 3]
            both = block[0] + block[1]
            mean = both / np.maximum(n[0] + n[1], 1)
            self.fill[group] = mean
            self.halves[2 * group : 2 * group + 2] = np.where(
                n[:2] > 0, block[:2] / np.maximum(n[:2], 1), mean
            )
            squares[contexts[group]] += n[2] * mean * mean - 2 * block[2] * mean
        return self._spreads(pairing, np.maximum(squares, 0))

    def _line_counts(self, pairing: ControlPairing) -> NDArray[np.float64]:
        rows, groups = self._pair_of_row
        own = pairing.group_of_row[np.unique(rows)].astype(np.int64)
        lines = np.concatenate([3 * groups + self._design.half_of_row[rows], 3 * own + 2])
        return np.bincount(lines, minlength=3 * pairing.n_groups).astype(np.float64)

    def _context_of_group(self, pairing: ControlPairing) -> NDArray[np.int32]:
        context = np.zeros(pairing.n_groups, np.int32)
        context[pairing.group_of_control] = self._design.context_of_row[pairing.control_rows]
        return context

    def _spreads(self, pairing: ControlPairing, squares: NDArray[np.float64]) -> NDArray[np.float32]:
        design = self._design
        own = pairing.group_of_row[design.is_control]
        size = np.bincount(own[own >= 0], minlength=pairing.n_groups)
        context = self._context_of_group(pairing)
        freedom = np.bincount(context, np.maximum(size - 1, 0), minlength=len(design.contexts))
        result = np.full(squares.shape, np.nan, np.float32)
        if freedom.sum() < 2:
            return result
        together = self._best_of(squares.sum(axis=0), float(freedom.sum()), None)
        for number in range(len(design.contexts)):
            enough = freedom[number] >= _ENOUGH and squares[number].any()
            result[number] = self._best_of(squares[number], freedom[number], number) if enough else together
        return result

    def _best_of(
        self, squares: NDArray[np.float64], freedom: float, context: int | None
    ) -> NDArray[np.float32]:
        robust = self._deviation_of_sample(context) if self._is_robust else None
        plain = np.sqrt(squares / freedom)
        return _floored(plain if robust is None else np.where(robust > 0, robust, plain))

    def _deviation_of_sample(self, context: int | None) -> NDArray[np.float64] | None:
        """Return 1.4826 * MAD by gene of the sampled rows of a context about their own groups' means."""
        rows, chosen = self._sample, np.arange(len(self._sample))
        factor = 1.0
        if self._pairing is not None:
            group = self._pairing.group_of_row
            own = np.bincount(group[self._design.is_control & (group >= 0)], minlength=self._pairing.n_groups)
            is_told = (group[rows] >= 0) & (own[group[rows]] > 1)
            if context is not None:
                is_told &= self._design.context_of_row[rows] == context
            chosen = chosen[is_told]
            size = own[group[rows[chosen]]]
            factor = float(np.sqrt(1 / np.mean(1 - 1 / size))) if len(chosen) else 1.0
        if len(chosen) < _ENOUGH:
            return None
        result = np.zeros(self._n_genes)
        for start in range(0, self._n_genes, _GENES_AT_ONCE):
            genes = slice(start, start + _GENES_AT_ONCE)
            values = np.asarray(self._profiles[:, genes])[chosen].astype(np.float64)
            values[~np.isfinite(values)] = np.nan
            if self.fill is not None and self._pairing is not None:
                values -= self.fill[:, genes][self._pairing.group_of_row[rows[chosen]]]
            values -= _medians(values) if self._pairing is None else 0
            result[genes] = _medians(np.abs(values))
        return result * _MAD_TO_DEVIATION * factor


def _medians(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median of each column without NaN values; numpy's nanmedian loops over columns in Python."""
    by_gene = np.ascontiguousarray(values.T)
    has_missing = np.isnan(by_gene).any(axis=1)
    result = np.full(len(by_gene), np.nan)
    result[~has_missing] = np.median(by_gene[~has_missing], axis=1, overwrite_input=True)
    if has_missing.any():
        result[has_missing] = np.nanmedian(by_gene[has_missing], axis=1)
    return result


def _floored(spread: NDArray[np.float64]) -> NDArray[np.float32]:
    positive = spread[np.isfinite(spread) & (spread > 0)]
    if not len(positive):
        return np.full(len(spread), np.nan, np.float32)
    floor = np.quantile(positive, _FLOOR_QUANTILE)
    return np.maximum(np.nan_to_num(spread, nan=floor), floor).astype(np.float32)


def _pairs_by_row(pairing: ControlPairing | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and groups of all (control, group) pairs, by row."""
    if pairing is None:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    rows, groups = pairing.control_rows, pairing.group_of_control.astype(np.int64)
    order = np.argsort(rows, kind="stable")
    return rows[order], groups[order]
