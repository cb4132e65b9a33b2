"""Errors that weigh genes by how specific the condition's response is: the mean response scores low."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from pertcast.evaluation.held_out import FloatArray, HeldOut, IndexArray
from pertcast.evaluation.metrics.metric import higher_is_better, lower_is_better
from pertcast.evaluation.rowwise import RELATIVE_ROUNDING, row_blocks

_MEJIA: Final = "Mejia et al. 2025 (Diversity by design: weighted metrics)"
_FEWEST_OTHERS: Final = 2


def _against_rest(x: FloatArray, total: FloatArray, squares: FloatArray, n: int) -> FloatArray:
    """Return (M, G) |t| of each row against the other rows of its pool, whose sums are given."""
    others = n - 1
    mean = (total - x) / others
    variance = np.maximum((squares - np.square(x)) / others - np.square(mean), 0.0) * others / (others - 1)
    size = np.sqrt(squares / n)
    defined = np.sqrt(variance) > RELATIVE_ROUNDING * size
    statistic = np.zeros_like(x)
    np.divide(np.abs(x - mean), np.sqrt(variance * (1 + 1 / others)), out=statistic, where=defined)
    return statistic


def _to_weights(statistic: FloatArray) -> FloatArray:
    """Scale each row to 0..1, square it and let it sum to 1; NaN where no gene stands out."""
    low, high = statistic.min(axis=1, keepdims=True), statistic.max(axis=1, keepdims=True)
    scaled = np.full(statistic.shape, np.nan)
    np.divide(statistic - low, high - low, out=scaled, where=high > low)
    weights = np.square(scaled)
    result: FloatArray = weights / weights.sum(axis=1, keepdims=True)
    return result


def rest_weights(held: HeldOut) -> Iterator[tuple[IndexArray, FloatArray]]:
    """Yield conditions and their (M, G) gene weights, in blocks; NaN in pools of fewer than three conditions.

    t of a gene: x minus the mean of the pool's other conditions, over sd sqrt(1 + 1/n) of those n. Weights
    are |t| scaled to 0..1 over genes, squared, summing to 1 (Mejia et al. 2025, who test cells against the
    cells of all other perturbations; here conditions are the replicates, so that bulk data has them too).
    """
    for pool in np.unique(held.pool):
        members = np.flatnonzero(held.pool == pool)
        total, squares = np.zeros(held.n_genes), np.zeros(held.n_genes)
        for block in row_blocks(len(members), held.n_genes):
            x = held.truth[members[block]].astype(np.float64)
            total += x.sum(axis=0)
            squares += np.square(x).sum(axis=0)
        for block in row_blocks(len(members), held.n_genes, copies=8):
            rows = members[block]
            if len(members) <= _FEWEST_OTHERS:
                yield rows, np.full((len(rows), held.n_genes), np.nan)
                continue
            x = held.truth[rows].astype(np.float64)
            yield rows, _to_weights(_against_rest(x, total, squares, len(members)))


def weighted_mse(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """Sum over genes of w (x - y)^2; w from |t| of the condition against the rest of its pool, sum 1."""
    result = np.empty(held.n_conditions)
    for rows, weights in rest_weights(held):
        residual = held.truth[rows].astype(np.float64) - prediction[rows]
        result[rows] = (weights * np.square(residual)).sum(axis=1)
    return result


def weighted_r2_delta(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """1 - sum w (x - y)^2 / sum w (d - mean_w d)^2, d = x - m, m the mean training response.

    w as in weighted_mse. Predicting m itself, or a constant shift of it, scores 0 or less.
    """
    result = np.full(held.n_conditions, np.nan)
    for rows, weights in rest_weights(held):
        truth = held.truth[rows].astype(np.float64)
        residual = (weights * np.square(truth - prediction[rows])).sum(axis=1)
        delta = truth - held.train_means(rows)
        centred = delta - (weights * delta).sum(axis=1, keepdims=True)
        total = (weights * np.square(centred)).sum(axis=1)
        defined = total > np.square(RELATIVE_ROUNDING * np.abs(truth).max(axis=1, initial=0.0))
        ratio = np.full(len(rows), np.nan)
        np.divide(residual, total, out=ratio, where=defined)
        result[rows] = 1.0 - ratio
    return result


WEIGHTED_METRICS: Final = (
    lower_is_better("weighted_mse", "weighted MSE", weighted_mse, _MEJIA),
    higher_is_better("weighted_r2_delta", "weighted R2", weighted_r2_delta, _MEJIA, uninformative=None),
)
