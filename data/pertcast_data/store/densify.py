"""Sparse rows made dense, and the declared normalisation, a batch at a time.

A count is divided by its row's sum, times 1e4, then log1p: zero stays zero, so working on the stored values
alone gives the same result as working on the dense row, at a fraction of the cost.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from pertcast_data.vocabulary import Normalisation

COUNTS_PER_ROW: Final = 1e4


def gather_csr(
    indices: list[NDArray[Any]], values: list[NDArray[Any]], n_genes: int, value_type: np.dtype[Any]
) -> sparse.csr_matrix:
    """Join rows, given as views of their gene indices and values, into a matrix with scipy's index type."""
    lengths = np.fromiter(map(len, indices), dtype=np.int64, count=len(indices))
    indptr = np.zeros(len(indices) + 1, dtype=np.int64)
    np.cumsum(lengths, out=indptr[1:])
    pointer_type = np.int32 if indptr[-1] < np.iinfo(np.int32).max else np.int64
    if not indices:
        return sparse.csr_matrix((0, n_genes), dtype=value_type)
    joined_indices = np.concatenate(indices).astype(pointer_type)
    joined_values = np.concatenate(values).astype(value_type, copy=False)
    shape = (len(indices), n_genes)
    return sparse.csr_matrix((joined_values, joined_indices, indptr.astype(pointer_type)), shape=shape)


def densify_rows(
    indices: list[NDArray[Any]], values: list[NDArray[Any]], n_genes: int, normalisation: Normalisation
) -> NDArray[np.float32]:
    """Return rows, given as views of their gene indices and values, as (M, n_genes) float32, normalised."""
    matrix = gather_csr(indices, values, n_genes, np.dtype(np.float32))
    if normalisation == "counts":
        matrix.data = _normalised_counts(matrix.data, matrix.indptr)
    profiles: NDArray[np.float32] = matrix.toarray()
    return profiles


def normalise_dense(rows: NDArray[Any], normalisation: Normalisation) -> NDArray[np.float32]:
    """Return dense rows (M, G) as float32 under the declared normalisation (a copy only where needed)."""
    profiles = rows.astype(np.float32, copy=False)
    if normalisation != "counts":
        return profiles
    totals = profiles.sum(axis=1, dtype=np.float64)
    return log1p(profiles * _scales(totals)[:, None])


def log1p(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return log(1 + x) for x >= 0, in float32, to about one unit in the last place.

    The rounding error of 1 + x is put back to first order, which lets the vectorised logarithm be used: it is
    five times as fast as numpy's log1p.
    """
    shifted = values + np.float32(1)
    result: NDArray[np.float32] = np.log(shifted)
    shifted_error = (shifted - np.float32(1)) - values
    result -= shifted_error / shifted
    return result


def _normalised_counts(data: NDArray[np.float32], indptr: NDArray[Any]) -> NDArray[np.float32]:
    lengths = np.diff(indptr)
    totals = np.zeros(len(lengths), dtype=np.float64)
    filled = lengths > 0
    totals[filled] = np.add.reduceat(data, indptr[:-1][filled], dtype=np.float64) if filled.any() else 0
    return log1p(data * np.repeat(_scales(totals), lengths))


def _scales(totals: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the factor of each row; an empty row stays empty."""
    return (COUNTS_PER_ROW / np.where(totals > 0, totals, np.inf)).astype(np.float32)
