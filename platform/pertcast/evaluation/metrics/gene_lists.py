"""Comparisons of two lists of genes of one condition: overlaps, directions, ranks, areas under curves.

All take one value a gene; a tie is broken by gene order, and what is undefined is NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from pertcast.evaluation.held_out import FloatArray, IndexArray

GeneMask = NDArray[np.bool_]


def ranked(size: FloatArray, among: GeneMask) -> IndexArray:
    """Return the genes where `among` (G,) is true by descending `size` (G,)."""
    genes = np.flatnonzero(among)
    order: IndexArray = genes[np.argsort(-size[genes], kind="stable")].astype(np.int64)
    return order


def largest(size: FloatArray, n_genes: int) -> IndexArray:
    """Return the `n_genes` >= 1 genes with the largest `size` (G,), ties to the first ones, in no order."""
    if n_genes >= len(size):
        return np.arange(len(size), dtype=np.int64)
    least = np.partition(size, -n_genes)[-n_genes]
    above = np.flatnonzero(size > least)
    tied = np.flatnonzero(size == least)[: n_genes - len(above)]
    return np.concatenate([above, tied]).astype(np.int64)


def shared(first: IndexArray, second: IndexArray) -> int:
    """Return how many genes are in both lists."""
    return len(np.intersect1d(first, second, assume_unique=True))


def same_direction(predicted: FloatArray, true: FloatArray, among: GeneMask) -> float:
    """Return the share of the genes `among` whose predicted change has the sign of the true one."""
    if not among.any():
        return float("nan")
    return float((np.sign(predicted[among]) == np.sign(true[among])).mean())


def spearman(first: FloatArray, second: FloatArray) -> float:
    """Return the rank correlation of two (K,) vectors, mean ranks for ties; NaN where one is constant."""
    if len(first) < 2:
        return float("nan")
    ranks = [rankdata(values) for values in (first, second)]
    centred = [rank - rank.mean() for rank in ranks]
    norm = np.sqrt((centred[0] @ centred[0]) * (centred[1] @ centred[1]))
    return float(centred[0] @ centred[1] / norm) if norm > 0 else float("nan")


def roc_area(positive: GeneMask, score: FloatArray) -> float:
    """Return the area under the ROC curve, ties counted half; NaN without both classes."""
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return float("nan")
    above = rankdata(score)[positive].sum() - n_positive * (n_positive + 1) / 2
    return float(above / (n_positive * n_negative))


def average_precision(positive: GeneMask, score: FloatArray) -> float:
    """Return sum over distinct thresholds of (recall step) x precision; NaN without both classes."""
    n_positive = int(positive.sum())
    if not n_positive or n_positive == len(positive):
        return float("nan")
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.r_[np.diff(score[order]) != 0, True])
    hits = np.cumsum(positive[order])[ends]
    precision = hits / (ends + 1)
    return float((np.diff(np.r_[0, hits]) * precision).sum() / n_positive)
