"""Correlations and errors of mean responses.

Notation: y predicted and x true response of a condition (profile minus matched control), over G genes;
N conditions. Every metric gives one value a condition, NaN where it is undefined.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertcast.evaluation.held_out import FloatArray, HeldOut, IndexArray
from pertcast.evaluation.metrics.metric import higher_is_better, lower_is_better
from pertcast.evaluation.rowwise import (
    by_rows,
    mean_absolute_error,
    mean_squared_error,
    pearson,
    r_squared,
    row_blocks,
)

SIGNIFICANT: Final = 0.05
"""Benjamini-Hochberg q value below which a gene counts as responding."""

_FEWEST_GENES: Final = 3
_SYSTEMA: Final = "Viñas Torné et al. 2025 (Systema)"


def pearson_delta(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """corr over genes of (y, x); NaN where y or x is constant."""  # noqa: D403
    return by_rows(pearson, prediction, held.truth)


def largest_first(x: FloatArray, allowed: NDArray[np.bool_] | None) -> tuple[IndexArray, IndexArray]:
    """Return (M, G) genes by descending |x| (ties: first in gene order), and (M,) how many are allowed.

    Genes that are not allowed come last.
    """
    size = np.abs(x) if allowed is None else np.where(allowed, np.abs(x), -1.0)
    count = np.full(len(x), x.shape[1]) if allowed is None else allowed.sum(axis=1)
    return np.argsort(-size, axis=1, kind="stable").astype(np.int64), count.astype(np.int64)


def pearson_delta_top(prediction: FloatArray, held: HeldOut, n_genes: int = 20) -> FloatArray:
    """corr of (y, x) over the n genes with the largest |x| (ties: first in gene order).

    Where the truth was tested, only genes with q < 0.05 are taken, and NaN stands where fewer than three
    pass; without tests all genes may be taken. Genes are never chosen by their variance over test conditions.
    """  # noqa: D403
    result = np.full(held.n_conditions, np.nan)
    for rows in row_blocks(held.n_conditions, held.n_genes, copies=6):
        y, x = prediction[rows].astype(np.float64), held.truth[rows].astype(np.float64)
        passed = None if held.tests is None else held.tests.q_value[rows] < SIGNIFICANT
        order, count = largest_first(x, passed)
        taken = np.minimum(count, n_genes)
        for size in np.unique(taken[taken >= _FEWEST_GENES]):
            chosen = np.flatnonzero(taken == size)
            top = order[chosen, :size]
            scores = pearson(np.take_along_axis(y[chosen], top, 1), np.take_along_axis(x[chosen], top, 1))
            result[rows.start + chosen] = scores
    return result


def pearson_delta_pert(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """corr of (y - m, x - m), m the mean training response of the type and context.

    A type that training did not measure in the context has the context's mean. Credit for the response that
    all perturbations share is gone: predicting m itself is undefined.
    """  # noqa: D403
    result = np.empty(held.n_conditions)
    for rows in row_blocks(held.n_conditions, held.n_genes, copies=6):
        mean = held.train_means(rows).astype(np.float64)
        scale = np.abs(mean).max(axis=1, initial=0.0)
        result[rows] = pearson(prediction[rows] - mean, held.truth[rows] - mean, scale)
    return result


def r2(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """1 - sum (x - y)^2 / sum (x - mean x)^2 over genes, on responses."""
    return by_rows(r_squared, prediction, held.truth)


def mse(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """Mean over genes of (x - y)^2; the same on responses as on means."""
    return by_rows(mean_squared_error, prediction, held.truth)


def rmse(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """Root of the mean over genes of (x - y)^2; the same on responses as on means."""
    result: FloatArray = np.sqrt(mse(prediction, held))
    return result


def mae(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """Mean over genes of |x - y|; the same on responses as on means."""
    return by_rows(mean_absolute_error, prediction, held.truth)


RESPONSE_METRICS: Final = (
    higher_is_better("pearson_delta", "r delta", pearson_delta),
    *(
        higher_is_better(f"pearson_delta_top{n}", f"r top{n}", partial(pearson_delta_top, n_genes=n))
        for n in (20, 50, 100)
    ),
    higher_is_better("pearson_delta_pert", "r vs pert mean", pearson_delta_pert, _SYSTEMA),
    higher_is_better("r2", "R2 delta", r2, uninformative=None),
    lower_is_better("mse", "MSE", mse),
    lower_is_better("rmse", "RMSE", rmse),
    lower_is_better("mae", "MAE", mae),
)
