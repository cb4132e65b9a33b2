"""Row-by-row comparisons and distances of two matrices: float64 sums over float32 data, in blocks.

Memory beyond the inputs stays below a fixed budget; what is undefined is NaN, never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Literal

import numpy as np
from scipy.spatial.distance import cdist

from pertcast.evaluation.held_out import FloatArray, IndexArray

BLOCK_BYTES: Final = 32 << 20
"""Size of the float64 copies a block may hold."""

RELATIVE_ROUNDING: Final = 1e-6
"""A vector whose spread is below this share of its scale is constant up to float32 rounding."""

DistanceName = Literal["l1", "l2", "cosine"]


def row_blocks(n_rows: int, n_columns: int, copies: int = 4) -> Iterator[slice]:
    """Yield slices over rows so that `copies` float64 copies of a block fit into the budget."""
    step = max(1, BLOCK_BYTES // (8 * copies * max(1, n_columns)))
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def by_rows(
    compare: Callable[[FloatArray, FloatArray], FloatArray], first: FloatArray, second: FloatArray
) -> FloatArray:
    """Apply `compare` to float64 blocks of two (N, G) matrices and return the (N,) results."""
    result = np.empty(len(first))
    for rows in row_blocks(*first.shape):
        result[rows] = compare(first[rows].astype(np.float64), second[rows].astype(np.float64))
    return result


def pearson(first: FloatArray, second: FloatArray, scale: FloatArray | float = 0.0) -> FloatArray:
    """Return (N,) Pearson correlations of the rows of two float64 (N, G) matrices.

    NaN where a row is constant up to rounding: its root mean square about its mean is at most 1e-6 of its
    largest absolute value, or of `scale` (the size of what the rows are differences of).
    """
    centred = [rows - rows.mean(axis=1, keepdims=True) for rows in (first, second)]
    sizes = [np.abs(rows).max(axis=1, initial=0.0) for rows in (first, second)]
    norms = [np.sqrt(np.einsum("ij,ij->i", rows, rows)) for rows in centred]
    root = np.sqrt(first.shape[1])
    defined = np.ones(len(first), dtype=bool)
    for norm, size in zip(norms, sizes, strict=True):
        defined &= norm > RELATIVE_ROUNDING * root * np.maximum(size, scale)
    product = np.einsum("ij,ij->i", centred[0], centred[1])
    result = np.full(len(first), np.nan)
    np.divide(product, norms[0] * norms[1], out=result, where=defined)
    clipped: FloatArray = np.clip(result, -1.0, 1.0)
    return clipped


def r_squared(prediction: FloatArray, truth: FloatArray) -> FloatArray:
    """Return (N,) 1 - sum (x - y)^2 / sum (x - mean x)^2 over each row; NaN where the truth is constant."""
    residual = np.square(truth - prediction).sum(axis=1)
    total = np.square(truth - truth.mean(axis=1, keepdims=True)).sum(axis=1)
    size = np.abs(truth).max(axis=1, initial=0.0)
    result = np.full(len(truth), np.nan)
    defined = total > truth.shape[1] * np.square(RELATIVE_ROUNDING * size)
    np.divide(residual, total, out=result, where=defined)
    return 1.0 - result


def mean_squared_error(prediction: FloatArray, truth: FloatArray) -> FloatArray:
    """Return (N,) mean over genes of (x - y)^2."""
    result: FloatArray = np.square(truth - prediction).mean(axis=1)
    return result


def mean_absolute_error(prediction: FloatArray, truth: FloatArray) -> FloatArray:
    """Return (N,) mean over genes of |x - y|."""
    result: FloatArray = np.abs(truth - prediction).mean(axis=1)
    return result


def _gene_chunks(n_rows: int, n_genes: int) -> Iterator[slice]:
    step = max(1, BLOCK_BYTES // (16 * max(1, n_rows)))
    for start in range(0, n_genes, step):
        yield slice(start, min(start + step, n_genes))


def _left_out(own_gene: IndexArray) -> Iterator[tuple[IndexArray, IndexArray]]:
    """Yield (rows, genes) to leave out, one slot at a time, no gene twice for a row."""
    for slot in range(own_gene.shape[1]):
        genes = own_gene[:, slot]
        fresh = (genes >= 0) & ~(own_gene[:, :slot] == genes[:, None]).any(axis=1)
        rows = np.flatnonzero(fresh)
        if len(rows):
            yield rows, genes[rows]


def _l1(prediction: FloatArray, truth: FloatArray, own_gene: IndexArray) -> FloatArray:
    distance = np.zeros((len(prediction), len(truth)))
    for genes in _gene_chunks(len(prediction) + len(truth), truth.shape[1]):
        left, right = (part[:, genes].astype(np.float64) for part in (prediction, truth))
        distance += cdist(left, right, "cityblock")
    for rows, genes_out in _left_out(own_gene):
        own = prediction[rows, genes_out].astype(np.float64)
        distance[rows] -= np.abs(own[:, None] - truth[:, genes_out].T.astype(np.float64))
    return np.maximum(distance, 0.0)


def _products(
    prediction: FloatArray, truth: FloatArray, own_gene: IndexArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return dot products and squared norms of prediction and truth, each (M, N), own genes left out."""
    dot = np.zeros((len(prediction), len(truth)))
    left_norm, right_norm = np.zeros((len(prediction), 1)), np.zeros((1, len(truth)))
    for genes in _gene_chunks(len(prediction) + len(truth), truth.shape[1]):
        left, right = (part[:, genes].astype(np.float64) for part in (prediction, truth))
        dot += left @ right.T
        left_norm += np.square(left).sum(axis=1)[:, None]
        right_norm += np.square(right).sum(axis=1)[None, :]
    right_norms = np.repeat(right_norm, len(prediction), axis=0)
    for rows, genes_out in _left_out(own_gene):
        own = prediction[rows, genes_out].astype(np.float64)[:, None]
        other = truth[:, genes_out].T.astype(np.float64)
        dot[rows] -= own * other
        left_norm[rows] -= np.square(own)
        right_norms[rows] -= np.square(other)
    return dot, np.maximum(left_norm, 0.0), np.maximum(right_norms, 0.0)


def _l2_squared(prediction: FloatArray, truth: FloatArray, own_gene: IndexArray) -> FloatArray:
    dot, left, right = _products(prediction, truth, own_gene)
    distance = left + right - 2.0 * dot
    # Equal vectors must have distance 0 exactly, or ties would be broken by rounding.
    distance[distance <= 1e-12 * (left + right)] = 0.0
    return distance


def _cosine(prediction: FloatArray, truth: FloatArray, own_gene: IndexArray) -> FloatArray:
    dot, left, right = _products(prediction, truth, own_gene)
    norm = np.sqrt(left * right)
    distance = np.full(dot.shape, np.nan)
    np.divide(dot, norm, out=distance, where=norm > 0)
    distance = 1.0 - distance
    distance[np.abs(distance) <= 1e-12] = 0.0
    return distance


def distances(
    name: DistanceName, prediction: FloatArray, truth: FloatArray, own_gene: IndexArray
) -> FloatArray:
    """Return (M, N) distances of M predictions to N truths, float64.

    Parameters
    ----------
    name
        "l1", "l2" (squared: the order is the same) or "cosine" (NaN where a vector is all zero).
    prediction, truth
        (M, G) and (N, G).
    own_gene
        (M, S) genes left out of the row's distances, -1 for none; S may be 0.
    """
    measure = {"l1": _l1, "l2": _l2_squared, "cosine": _cosine}[name]
    return measure(prediction, truth, own_gene)
