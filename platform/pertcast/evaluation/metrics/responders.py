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
from pertcast.evaluation.metrics.gene_lists import (
    GeneMask,
    average_precision,
    largest,
    ranked,
    roc_area,
    same_direction,
    shared,
    spearman,
)
from pertcast.evaluation.metrics.metric import Metric, higher_is_better
from pertcast.evaluation.metrics.responses import SIGNIFICANT
from pertcast.evaluation.rowwise import row_blocks

_MOST_WITHOUT_TESTS: Final = 100
_SHARE_WITHOUT_TESTS: Final = 10
_SOURCE: Final = "after cell-eval 0.8.2, for predictions without cells"

GeneScore = Callable[[FloatArray, FloatArray, GeneMask], float]
"""``score(y (G,), x (G,), responding (G,)) -> float``."""


def responding_genes(held: HeldOut, rows: slice) -> GeneMask:
    """Return (M, G) which genes respond: q < 0.05 of the truth's tests.

    Without tests: the tenth of the genes with the largest |x|, at most 100.
    """
    if held.tests is not None:
        significant: GeneMask = held.tests.q_value[rows] < SIGNIFICANT
        return significant
    size = np.abs(held.truth[rows])
    n_genes = min(_MOST_WITHOUT_TESTS, -(-held.n_genes // _SHARE_WITHOUT_TESTS))
    top = np.argsort(-size, axis=1, kind="stable")[:, :n_genes]
    responding = np.zeros(size.shape, dtype=bool)
    np.put_along_axis(responding, top, True, axis=1)
    return responding


def _each(prediction: FloatArray, held: HeldOut, score: GeneScore) -> FloatArray:
    """Score every condition that has a responding gene; NaN elsewhere."""
    result = np.full(held.n_conditions, np.nan)
    for rows in row_blocks(held.n_conditions, held.n_genes):
        responding = responding_genes(held, rows)
        for place in np.flatnonzero(responding.any(axis=1)):
            row = rows.start + place
            y, x = prediction[row].astype(np.float64), held.truth[row].astype(np.float64)
            result[row] = score(y, x, responding[place])
    return result


def _overlap(y: FloatArray, x: FloatArray, responding: GeneMask, most: int | None) -> float:
    true = ranked(np.abs(x), responding)[:most]
    return shared(true, largest(np.abs(y), len(true))) / len(true)


def responders_overlap(prediction: FloatArray, held: HeldOut, most: int | None = None) -> FloatArray:
    """Share of the k responding genes with the largest |x| that are among the k genes with the largest |y|.

    k: as named, or all that respond where those are fewer (at_N: all). Responding: q < 0.05 of the truth's
    tests; without tests the tenth of the genes with the largest |x|, at most 100. Blind to the sign.
    """
    return _each(prediction, held, partial(_overlap, most=most))


def responders_direction_match(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """Share of the responding genes (as in responders_overlap) where y has the sign of x."""
    return _each(prediction, held, same_direction)


def responders_spearman(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """Rank correlation of y and x over the responding genes (as in responders_overlap)."""
    return _each(prediction, held, lambda y, x, responding: spearman(y[responding], x[responding]))


def responders_roc_auc(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """Area under the ROC curve of |y| for telling responding genes (as in responders_overlap) from others."""
    return _each(prediction, held, lambda y, x, responding: roc_area(responding, np.abs(y)))


def responders_pr_auc(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """Average precision of |y| for telling responding genes (as in responders_overlap) from others."""
    return _each(prediction, held, lambda y, x, responding: average_precision(responding, np.abs(y)))


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
