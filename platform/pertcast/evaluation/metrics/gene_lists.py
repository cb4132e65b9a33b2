"""Comparisons of two lists of genes of one condition: overlaps, directions, ranks, areas under curves.

All take one value a gene; a tie is broken by gene order, and what is undefined is NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.metrics.gene_rows import (
    average_precision_rows,
    roc_area_rows,
    same_direction_rows,
    spearman_rows,
)

GeneMask = NDArray[np.bool_]


def ranked(size: FloatArray, among: GeneMask) -> IndexArray:
    """Return the genes where `among` (G,) is true by descending `size` (G,)."""
    genes = np.flatnonzero(among)
    order: IndexArray = genes[np.argsort(-size[genes], kind="stable")].astype(np.int64)
    return order


def shared(first: IndexArray, second: IndexArray) -> int:
    """Return how many genes are in both lists."""
    return len(np.intersect1d(first, second, assume_unique=True))


def same_direction(predicted: FloatArray, true: FloatArray, among: GeneMask) -> float:
    """Return the share of the genes `among` whose predicted change has the sign of the true one."""
    return float(same_direction_rows(predicted[None], true[None], among[None])[0])


def spearman(first: FloatArray, second: FloatArray) -> float:
    """Return the rank correlation of two (K,) vectors, mean ranks for ties; NaN where one is constant."""
    return float(spearman_rows(first[None], second[None], np.ones((1, len(first)), dtype=bool))[0])


def roc_area(positive: GeneMask, score: FloatArray) -> float:
    """Return the area under the ROC curve, ties counted half; NaN without both classes."""
    return float(roc_area_rows(positive[None], score[None])[0])


def average_precision(positive: GeneMask, score: FloatArray) -> float:
    """Return sum over distinct thresholds of (recall step) x precision; NaN without both classes."""
    return float(average_precision_rows(positive[None], score[None])[0])
