"""Comparisons of responses by the ranks of their genes: what is left when two assays share no scale.

Unchanged by any rising transformation of either response; y predicted, x true response of a condition.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from pertcast.evaluation.held_out import FloatArray, HeldOut
from pertcast.evaluation.metrics.gene_rows import mean_ranks
from pertcast.evaluation.metrics.metric import higher_is_better
from pertcast.evaluation.metrics.retrieval import centroid_accuracy, discrimination
from pertcast.evaluation.rowwise import RELATIVE_ROUNDING, by_rows, pearson, row_blocks

_SPEARMAN: Final = "Spearman 1904"
_CROSS_ASSAY: Final = "centroid accuracy and discrimination on ranks, for stores without a common scale"


def centred_ranks(values: FloatArray) -> FloatArray:
    """Return (N, G) float32 ranks of each row's genes about their mean, in [-0.5, 0.5]; mean ranks for ties.

    All 0 where a row is constant up to rounding.
    """
    result = np.empty(values.shape, dtype=np.float32)
    n_genes = values.shape[1]
    for rows in row_blocks(*values.shape):
        block = values[rows].astype(np.float64)
        spread = block.max(axis=1, initial=-np.inf) - block.min(axis=1, initial=np.inf)
        varies = spread > RELATIVE_ROUNDING * np.abs(block).max(axis=1, initial=0.0)
        ranks = (mean_ranks(block) - (n_genes + 1) / 2) / n_genes
        result[rows] = np.where(varies[:, None], ranks, 0.0)
    return result


def _by_ranks(prediction: FloatArray, held: HeldOut) -> tuple[FloatArray, HeldOut]:
    return centred_ranks(prediction), replace(held, truth=centred_ranks(held.truth))


def spearman_delta(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """corr of the ranks over genes of (y, x), mean ranks for ties; NaN where y or x is constant."""  # noqa: D403
    return by_rows(pearson, centred_ranks(prediction), centred_ranks(held.truth))


def centroid_accuracy_ranks(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """Share of the other conditions' ranked x farther (Euclidean) from the ranked y than its own x.

    Ranked responses have one length, so nothing is won or lost by the size of a response.
    """
    ranked, truth = _by_ranks(prediction, held)
    return np.where(ranked.any(axis=1), centroid_accuracy(ranked, truth), np.nan)


def discrimination_spearman(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """1 - r/N, r >= 0 the rank of the own x among all N x of the pool by 1 - rank correlation with y.

    The perturbation's own target genes are left out; ties go to the condition that comes first.
    """
    ranked, truth = _by_ranks(prediction, held)
    return discrimination(ranked, truth, "cosine")


RANK_METRICS: Final = (
    higher_is_better("spearman_delta", "rho delta", spearman_delta, _SPEARMAN),
    higher_is_better(
        "centroid_accuracy_ranks", "centroid ranks", centroid_accuracy_ranks, _CROSS_ASSAY, uninformative=0.5
    ),
    higher_is_better(
        "discrimination_spearman", "PDS ranks", discrimination_spearman, _CROSS_ASSAY, uninformative=0.5
    ),
)
