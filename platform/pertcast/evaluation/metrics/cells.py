"""Metrics of one condition's cells: which genes they call responding, and how the populations differ.

Truth and prediction are tested alike against the truth's controls: Wilcoxon rank sums, Benjamini-Hochberg
below 0.05. All but the distances are undefined (NaN) where no gene truly responds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np

from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.metrics import distribution
from pertcast.evaluation.metrics.cell_pair import CellPair
from pertcast.evaluation.metrics.gene_lists import (
    average_precision,
    ranked,
    roc_area,
    same_direction,
    shared,
    spearman,
)
from pertcast.evaluation.metrics.metric import Metric, higher_is_better, lower_is_better
from pertcast.evaluation.metrics.responses import SIGNIFICANT

_CELL_EVAL: Final = "cell-eval 0.8.2"
_SMALLEST_Q: Final = 1e-10


def _lists(pair: CellPair) -> tuple[IndexArray, IndexArray]:
    """Return the significant genes of truth and prediction by descending size of their fold change."""
    true = ranked(np.abs(pair.true_change), pair.true_q < SIGNIFICANT)
    predicted = ranked(np.abs(pair.predicted_change), pair.predicted_q < SIGNIFICANT)
    return true, predicted


def overlap(pair: CellPair, most: int | None = None) -> float:
    """Share of the truth's k significant genes of largest fold change that are the prediction's first k too.

    k: as named, or all significant ones of the truth where those are fewer (at_N: all).
    """
    true, predicted = _lists(pair)
    k = len(true[:most])
    return shared(true[:k], predicted[:k]) / k if k else float("nan")


def precision(pair: CellPair, most: int | None = None) -> float:
    """Share of the prediction's k significant genes of largest fold change that are the truth's first k too.

    k: as named, or all significant ones of the prediction where those are fewer (at_N: all); 0 without any.
    """
    true, predicted = _lists(pair)
    if not len(true):
        return float("nan")
    k = len(predicted[:most])
    return shared(true[:k], predicted[:k]) / k if k else 0.0


def direction_match(pair: CellPair) -> float:
    """Share of the truth's significant genes whose predicted fold change has the true sign."""
    return same_direction(pair.predicted_change, pair.true_change, pair.true_q < SIGNIFICANT)


def spearman_lfc_significant(pair: CellPair) -> float:
    """Rank correlation of predicted and true fold changes over the truth's significant genes."""
    among = pair.true_q < SIGNIFICANT
    return spearman(pair.predicted_change[among], pair.true_change[among])


def significant_recall(pair: CellPair) -> float:
    """Share of the truth's significant genes that are significant in the prediction."""
    true = pair.true_q < SIGNIFICANT
    return float((pair.predicted_q[true] < SIGNIFICANT).mean()) if true.any() else float("nan")


def _evidence(pair: CellPair) -> FloatArray:
    """Return (G,) -log10 q of the prediction, q no smaller than 1e-10."""
    evidence: FloatArray = -np.log10(np.clip(pair.predicted_q, _SMALLEST_Q, 1.0))
    return evidence


def roc_auc(pair: CellPair) -> float:
    """Area under the ROC curve of the prediction's -log10 q for telling the truth's significant genes."""
    return roc_area(pair.true_q < SIGNIFICANT, _evidence(pair))


def pr_auc(pair: CellPair) -> float:
    """Average precision of the prediction's -log10 q for telling the truth's significant genes."""
    return average_precision(pair.true_q < SIGNIFICANT, _evidence(pair))


def e_distance(pair: CellPair) -> float:
    """2 mean |x - y| - mean |x - x'| - mean |y - y'| over true cells x and predicted cells y."""
    return max(0.0, distribution.energy_distance(*pair.squared))


def mmd(pair: CellPair) -> float:
    """Squared maximum mean discrepancy of true and predicted cells, mean over five Gaussian kernels.

    exp(-d^2 / (2 b s)), b in 1/4, 1/2, 1, 2, 4 and s the median squared distance of two true cells.
    """
    return distribution.kernel_discrepancy(*pair.squared, pair.scale)


def sinkhorn(pair: CellPair) -> float:
    """OT(x, y) - OT(x, x)/2 - OT(y, y)/2, entropic transport of squared distances, x true, y predicted cells.

    The smoothing is half the median squared distance of two true cells.
    """
    return distribution.sinkhorn_divergence(*pair.squared, distribution.SINKHORN_SMOOTHING * pair.scale)


def variance_ratio(pair: CellPair) -> float:
    """Median over genes of min(v, w) / max(v, w), v and w the variances over true and predicted cells."""
    return distribution.variance_agreement(pair.true, pair.predicted)


def gene_correlation_similarity(pair: CellPair) -> float:
    """corr over pairs of genes of the gene-gene correlations among true and among predicted cells."""  # noqa: D403
    return distribution.correlation_similarity(pair.drawn[0].cells, pair.drawn[1].cells)


def dropout_difference(pair: CellPair) -> float:
    """Mean over genes of the absolute difference of true and predicted share of cells with exactly zero."""
    return distribution.dropout_difference(pair.true, pair.predicted)


_higher = partial(higher_is_better, level="cells")
_lower = partial(lower_is_better, level="cells")


def _at(name: str, score: Callable[..., float], label: str, most: int | None) -> Metric:
    return _higher(f"{name}_at_{label}", f"{name}@{label}", partial(score, most=most), _CELL_EVAL)


_DEPTHS: Final = {"N": None, "50": 50, "100": 100, "200": 200}

CELL_METRICS: Final = (
    *(_at("overlap", overlap, label, most) for label, most in _DEPTHS.items()),
    *(_at("precision", precision, label, most) for label, most in _DEPTHS.items()),
    _higher("de_direction_match", "DE sign", direction_match, _CELL_EVAL, 0.5),
    _higher("de_spearman_lfc_sig", "DE rho", spearman_lfc_significant, _CELL_EVAL),
    _higher("de_sig_genes_recall", "DE recall", significant_recall, _CELL_EVAL),
    _higher("roc_auc", "DE ROC", roc_auc, _CELL_EVAL, 0.5),
    _higher("pr_auc", "DE PR", pr_auc, _CELL_EVAL),
    _lower("e_distance", "E-distance", e_distance, "Székely and Rizzo 2013; cell-eval 0.8.2"),
    _lower("mmd", "MMD", mmd, "Gretton et al. 2012"),
    _lower("sinkhorn", "Sinkhorn", sinkhorn, "Feydy et al. 2019"),
    _higher("variance_ratio", "variance", variance_ratio, uninformative=None),
    _higher("gene_correlation_similarity", "gene corr", gene_correlation_similarity),
    _lower("dropout_difference", "dropout", dropout_difference),
)
