"""First look at every profile: copies, missing values, empty rows and genes, values out of scale.

All in one streaming pass; a row is known by a 64-bit hash of its values, and rows that share one are looked
at with a second, independent hash.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from pertcast_data.quality.line_sums import row_sums
from pertcast_data.readers.source import ProfileBatch, stored_values
from pertcast_data.vocabulary import Normalisation

EXPECTED_RANGE: Final = MappingProxyType(
    {
        "counts": (0.0, np.inf),
        "log1p_cpm": (0.0, 14.0),
        "log2_intensity": (0.0, 25.0),
        "z_score": (-100.0, 100.0),
        "log_fold_change": (-25.0, 25.0),
    }
)
"""Normalisation -> lowest and highest value that it can give: log(1 + 1e6) is 13.8, scanners end at 2^16."""

_TELLING_VALUES: Final = 30
"""Rows with fewer values that are not zero may agree by chance (shallow cells)."""


class RowChecks:
    """Facts of each row and each gene, gathered piece by piece.

    Attributes
    ----------
    hashes
        (N,) uint64 of each row's values as float32, 0 and -0 being equal.
    n_missing, n_infinite, n_filled
        (N,) NaN values, infinite values, and values that are not zero.
    totals
        (N,) sums of the values, missing ones left out.
    gene_missing, gene_infinite, gene_filled
        (G,) the same by gene.
    gene_low, gene_high
        (G,) extremes of the finite values, zeros of sparse rows among them.
    n_out_of_scale, n_fractional
        Values outside `EXPECTED_RANGE`; counts that are not whole.
    moments
        Number, sum and sum of squares of all finite values.
    """

    def __init__(self, n_rows: int, n_genes: int, normalisation: Normalisation, seed: int) -> None:
        self.normalisation = normalisation
        self._weights = _hash_weights(n_genes, seed)
        self._low, self._high = EXPECTED_RANGE[normalisation]
        self.hashes = np.zeros(n_rows, np.uint64)
        self.n_missing = np.zeros(n_rows, np.int32)
        self.n_infinite = np.zeros(n_rows, np.int32)
        self.n_filled = np.zeros(n_rows, np.int32)
        self.totals = np.zeros(n_rows, np.float64)
        self.gene_missing = np.zeros(n_genes, np.int64)
        self.gene_infinite = np.zeros(n_genes, np.int64)
        self.gene_filled = np.zeros(n_genes, np.int64)
        self.gene_low = np.full(n_genes, np.inf)
        self.gene_high = np.full(n_genes, -np.inf)
        self.n_out_of_scale = 0
        self.n_fractional = 0
        self.moments = np.zeros(3)

    def add(self, first: int, piece: ProfileBatch) -> None:
        """Look at the rows from `first` on."""
        at = slice(first, first + piece.shape[0])
        self.hashes[at] = row_hashes(piece, self._weights)
        values = stored_values(piece)
        sums = _sums(piece, values)
        if not np.isfinite(sums).all():
            piece, sums = self._without_missing(at, piece)
            values = stored_values(piece)
        self.totals[at] = sums
        if sparse.issparse(piece):
            self._add_sparse(at, piece)
        else:
            self._add_dense(at, values)
        self._add_scale(values, piece.shape[0] * piece.shape[1])

    def _without_missing(self, at: slice, piece: ProfileBatch) -> tuple[ProfileBatch, NDArray[np.float64]]:
        """Count what is missing by row and gene, and return the piece with zeros in its place."""
        values = stored_values(piece)
        for bad, by_row, by_gene in (
            (np.isnan(values), self.n_missing, self.gene_missing),
            (np.isinf(values), self.n_infinite, self.gene_infinite),
        ):
            if sparse.issparse(piece):
                by_row[at] = row_sums(bad.astype(np.int64), piece.indptr)  # type: ignore[union-attr]
                by_gene += np.bincount(piece.indices[bad], minlength=len(by_gene))  # type: ignore[union-attr]
            else:
                by_row[at] = bad.sum(axis=1)
                by_gene += bad.sum(axis=0)
        whole = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        if sparse.issparse(piece):
            kept = sparse.csr_matrix((whole, piece.indices, piece.indptr), shape=piece.shape)  # type: ignore[union-attr]
            return kept, row_sums(whole, kept.indptr)
        return whole, whole.sum(axis=1, dtype=np.float64)

    def _add_dense(self, at: slice, values: NDArray[Any]) -> None:
        filled = values != 0
        self.n_filled[at] = np.count_nonzero(filled, axis=1)
        self.gene_filled += np.count_nonzero(filled, axis=0)
        np.minimum(self.gene_low, values.min(axis=0), out=self.gene_low)
        np.maximum(self.gene_high, values.max(axis=0), out=self.gene_high)

    def _add_sparse(self, at: slice, rows: Any) -> None:
        filled = rows.data != 0
        n_genes = rows.shape[1]
        by_gene = np.bincount(rows.indices if filled.all() else rows.indices[filled], minlength=n_genes)
        self.n_filled[at] = np.diff(rows.indptr) if filled.all() else row_sums(filled * 1, rows.indptr)
        self.gene_filled += by_gene
        data = rows.data.astype(np.float64)
        np.minimum.at(self.gene_low, rows.indices, data)
        np.maximum.at(self.gene_high, rows.indices, data)
        has_zeros = by_gene < rows.shape[0]
        self.gene_low[has_zeros] = np.minimum(self.gene_low[has_zeros], 0)
        self.gene_high[has_zeros] = np.maximum(self.gene_high[has_zeros], 0)

    def _add_scale(self, values: NDArray[Any], n_values: int) -> None:
        flat = values.ravel()
        if not len(flat):
            self.moments[0] += n_values
            return
        exact = flat.astype(np.float64, copy=False)
        self.moments += (n_values, exact.sum(), float(exact @ exact))
        if flat.min() < self._low or flat.max() > self._high:
            self.n_out_of_scale += int(np.count_nonzero((flat < self._low) | (flat > self._high)))
        if self.normalisation == "counts" and flat.dtype.kind == "f":
            self.n_fractional += int(np.count_nonzero(flat != np.floor(flat)))

    @property
    def tells(self) -> NDArray[np.bool_]:
        """(N,) whether a row has enough values that are not zero for a copy to be no accident."""
        enough = min(_TELLING_VALUES, max(1, len(self.gene_filled) // 2))
        return self.n_filled >= enough

    @property
    def deviation(self) -> float:
        """Standard deviation of all finite values."""
        n, total, squares = self.moments.tolist()
        return float(np.sqrt(max(squares / n - (total / n) ** 2, 0.0))) if n else 0.0


class SecondHashes:
    """A second hash of the rows whose first hash is not theirs alone."""

    def __init__(self, checks: RowChecks, seed: int) -> None:
        _, place, count = np.unique(checks.hashes, return_inverse=True, return_counts=True)
        self.is_asked = (count[place] > 1) & checks.tells
        self.hashes = np.zeros(len(checks.hashes), np.uint64)
        self._weights = _hash_weights(len(checks.gene_filled), seed + 1)

    def add(self, first: int, piece: ProfileBatch) -> None:
        """Hash those of the rows from `first` on that are asked for."""
        rows = np.flatnonzero(self.is_asked[first : first + piece.shape[0]])
        if len(rows):
            self.hashes[first + rows] = row_hashes(piece[rows], self._weights)


def first_copies(checks: RowChecks, second: SecondHashes) -> NDArray[np.int64]:
    """Return (N,) the first row with the same values, -1 for rows that are alone or tell too little."""
    result = np.full(len(checks.hashes), -1, np.int64)
    rows = np.flatnonzero(second.is_asked)
    both = np.stack([checks.hashes[rows], second.hashes[rows]], axis=1)
    if not len(rows):
        return result
    _, first, place, count = np.unique(
        both, axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    place = place.reshape(-1)
    result[rows] = np.where(count[place] > 1, rows[first[place]], -1)
    return result


def row_hashes(piece: ProfileBatch, weights: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each row's values as float32: the sum of weight * mixed bits, modulo 2^64.

    Zeros add nothing, so that dense and sparse rows of the same values agree.
    """
    if sparse.issparse(piece):
        rows: Any = piece
        mixed = _mixed_bits(rows.data) * weights[rows.indices]
        sums = np.zeros(rows.shape[0], np.uint64)
        filled = np.diff(rows.indptr) > 0
        if filled.any():
            sums[filled] = np.add.reduceat(mixed, rows.indptr[:-1][filled])
        return sums
    hashed: NDArray[np.uint64] = _mixed_bits(np.asarray(piece)) @ weights
    return hashed


def _mixed_bits(values: NDArray[Any]) -> NDArray[np.uint64]:
    """Return float32 bits, the high ones folded into the low ones, which small whole numbers leave 0."""
    bits = (values.astype(np.float32) + np.float32(0)).view(np.uint32)
    bits ^= bits >> np.uint32(17)
    return bits.astype(np.uint64)


def _hash_weights(n_genes: int, seed: int) -> NDArray[np.uint64]:
    random = np.random.default_rng([seed, 0x9E3779B9])
    return random.integers(0, 1 << 64, n_genes, dtype=np.uint64) | np.uint64(1)


def _sums(piece: ProfileBatch, values: NDArray[Any]) -> NDArray[np.float64]:
    if sparse.issparse(piece):
        return row_sums(values, piece.indptr)  # type: ignore[union-attr]
    sums: NDArray[np.float64] = values.sum(axis=1, dtype=np.float64)
    return sums
