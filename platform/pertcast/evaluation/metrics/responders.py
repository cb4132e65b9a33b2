"""Whether the responding genes of a condition are found, where a prediction has means but no cells.

The truth is tested where it has replicates or cells; a prediction has no significance of its own, so its
genes are ordered by |y|.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np

from pertcast.evaluation.held_out import FloatArray, HeldOut
from pertcast.evaluation.metrics.gene_rows import (
    GeneMasks,
    average_precision_rows,
    largest_rows,
    roc_area_rows,
    same_direction_rows,
    spearman_rows,
)
from pertcast.evaluation.metrics.metric import Metric, higher_is_better
from pertcast.evaluation.metrics.responses import SIGNIFICANT
from pertcast.evaluation.rowwise import row_blocks

_MOST_WITHOUT_TESTS: Final = 100
_SHARE_WITHOUT_TESTS: Final = 10
_SOURCE: Final = "after cell-eval 0.8.2, for predictions without cells"

RowScore = Callable[[FloatArray, FloatArray, GeneMasks], FloatArray]
"""``score(y (M, G), x (M, G), responding (M, G)) -> (M,)``."""


def responding_genes(held: HeldOut, rows: slice) -> GeneMasks:
    """Return (M, G) which genes respond: q < 0.05 of the truth's tests.

    Without tests: the tenth of the genes with the largest |x|, at most 100.
    """
    if held.tests is not None:
        significant: GeneMasks = held.tests.q_value[rows] < SIGNIFICANT
        return significant
    n_genes = min(_MOST_WITHOUT_TESTS, -(-held.n_genes // _SHARE_WITHOUT_TESTS))
    size = np.abs(held.truth[rows])
    return largest_rows(size, np.full(len(size), n_genes))


def _by_rows(prediction: FloatArray, held: HeldOut, score: RowScore) -> FloatArray:
    """Score blocks of conditions; NaN for conditions without a responding gene."""
    result = np.empty(held.n_conditions)
    for rows in row_blocks(held.n_conditions, held.n_genes, copies=12):
        y, x = prediction[rows].astype(np.float64), held.truth[rows].astype(np.float64)
        responding = responding_genes(held, rows)
        result[rows] = np.where(responding.any(axis=1), score(y, x, responding), np.nan)
    return result


def _overlap(y: FloatArray, x: FloatArray, responding: GeneMasks, most: int | None) -> FloatArray:
    count = responding.sum(axis=1)
    count = count if most is None else np.minimum(count, most)
    true = largest_rows(np.where(responding, np.abs(x), -1.0), count)
    both = (true & largest_rows(np.abs(y), count)).sum(axis=1)
    share: FloatArray = both / np.maximum(count, 1)
    return share


def responders_overlap(prediction: FloatArray, held: HeldOut, most: int | None = None) -> FloatArray:
    """Share of the k responding genes with the largest |x| that are among the k genes with the largest |y|.

    k: as named, or all that respond where those are fewer (at_N: all). Responding: q < 0.05 of the truth's
    tests; without tests the tenth of the genes with the largest |x|, at most 100. Blind to the sign.
    """
    return _by_rows(prediction, held, partial(_overlap, most=most))


def responders_direction_match(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """Share of the responding genes (as in responders_overlap) where y has the sign of x."""
    return _by_rows(prediction, held, same_direction_rows)


def responders_spearman(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """Rank correlation of y and x over the responding genes (as in responders_overlap)."""
    return _by_rows(prediction, held, spearman_rows)


def responders_roc_auc(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """Area under the ROC curve of |y| for telling responding genes (as in responders_overlap) from others."""
    return _by_rows(prediction, held, lambda y, x, responding: roc_area_rows(responding, np.abs(y)))


def responders_pr_auc(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """Average precision of |y| for telling responding genes (as in responders_overlap) from others."""
    return _by_rows(prediction, held, lambda y, x, responding: average_precision_rows(responding, np.abs(y)))


def _overlap_metric(label: str, most: int | None) -> Metric:
    score = partial(responders_overlap, most=most)
    return higher_is_better(f"responders_overlap_at_{label}", f"responders@{label}", score, _SOURCE)


RESPONDER_METRICS: Final = (
    _overlap_metric("N", None),
    *(_overlap_metric(str(n), n) for n in (50, 100, 200)),
    higher_is_better(
        "responders_direction_match", "responders sign", responders_direction_match, _SOURCE, 0.5
    ),
    higher_is_better("responders_spearman", "responders rho", responders_spearman, _SOURCE),
    higher_is_better("responders_roc_auc", "responders ROC", responders_roc_auc, _SOURCE, 0.5),
    higher_is_better("responders_pr_auc", "responders PR", responders_pr_auc, _SOURCE),
)
