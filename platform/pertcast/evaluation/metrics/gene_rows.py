"""Ranks of genes and what is made from them, for many conditions at once: a row a condition.

All take (M, G) arrays and give (M,) values, NaN where undefined; equal values share their mean rank.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertcast.evaluation.held_out import FloatArray, IndexArray

GeneMasks = NDArray[np.bool_]


def _run_starts(ordered: FloatArray) -> IndexArray:
    """Return the flat positions where a run of equal values of a row starts; each NaN is its own run."""
    differs = np.ones(ordered.shape, dtype=bool)
    np.not_equal(ordered[:, 1:], ordered[:, :-1], out=differs[:, 1:])
    return np.flatnonzero(differs).astype(np.int64)


def mean_ranks(values: FloatArray, among: GeneMasks | None = None) -> FloatArray:
    """Return (M, G) float64 ranks from 1 of each row's values; those not `among` rank last."""
    filled = values if among is None else np.where(among, values, np.nan)
    order = np.argsort(filled, axis=1)
    starts = _run_starts(np.take_along_axis(filled, order, axis=1))
    lengths = np.diff(np.r_[starts, filled.size])
    middle = starts % filled.shape[1] + (lengths + 1) / 2
    ranks = np.empty(filled.shape)
    np.put_along_axis(ranks, order, np.repeat(middle, lengths).reshape(filled.shape), axis=1)
    return ranks


def largest_rows(size: FloatArray, count: IndexArray) -> GeneMasks:
    """Return (M, G) whether a gene is among the `count` (M,) <= G largest of its row, ties to the first."""
    n_genes = size.shape[1]
    place = np.minimum(n_genes - count, n_genes - 1)[:, None]
    least = np.take_along_axis(np.sort(size, axis=1), place, axis=1)
    above, tied = size > least, size == least
    missing = count - above.sum(axis=1)
    chosen: GeneMasks = above | (tied & (np.cumsum(tied, axis=1, dtype=np.int32) <= missing[:, None]))
    return chosen


def _share(part: NDArray[Any], whole: NDArray[Any]) -> FloatArray:
    """Return part / whole, NaN where `whole` is not positive."""
    result = np.full(len(whole), np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


def spearman_rows(first: FloatArray, second: FloatArray, among: GeneMasks) -> FloatArray:
    """Return the rank correlations over the genes `among`; NaN where a side is constant there."""
    middle = (among.sum(axis=1, keepdims=True) + 1) / 2
    left, right = (np.where(among, mean_ranks(side, among) - middle, 0.0) for side in (first, second))
    squares = [np.einsum("ij,ij->i", side, side) for side in (left, right)]
    return _share(np.einsum("ij,ij->i", left, right), np.sqrt(squares[0] * squares[1]))


def same_direction_rows(predicted: FloatArray, true: FloatArray, among: GeneMasks) -> FloatArray:
    """Return the shares of the genes `among` whose predicted change has the sign of the true one."""
    agrees = (np.sign(predicted) == np.sign(true)) & among
    return _share(agrees.sum(axis=1), among.sum(axis=1))


def roc_area_rows(positive: GeneMasks, score: FloatArray) -> FloatArray:
    """Return the areas under the ROC curve, ties counted half; NaN without both classes."""
    count = positive.sum(axis=1)
    above: FloatArray = np.where(positive, mean_ranks(score), 0.0).sum(axis=1) - count * (count + 1) / 2
    return _share(above, count * (positive.shape[1] - count))


def average_precision_rows(positive: GeneMasks, score: FloatArray) -> FloatArray:
    """Return sums over distinct thresholds of (recall step) x precision; NaN without both classes."""
    n_rows, n_genes = positive.shape
    order = np.argsort(-score, axis=1)
    starts = _run_starts(np.take_along_axis(score, order, axis=1))
    ends = np.r_[starts[1:], positive.size] - 1
    hits = np.cumsum(np.take_along_axis(positive, order, axis=1), axis=1).ravel()[ends]
    gained = hits - np.where(starts % n_genes == 0, 0, np.r_[0, hits[:-1]])
    precision = hits / (ends % n_genes + 1)
    total = np.bincount(ends // n_genes, gained * precision, n_rows)
    count = positive.sum(axis=1)
    return _share(total, np.where(count < n_genes, count, 0))
