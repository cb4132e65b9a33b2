"""What a prediction adds to the mean training response of its type, as a share of that mean's errors.

m is the mean training response of the condition's type in its context (`HeldOut.train_means`), y predicted
and x true; a model that knows no more than m earns nothing here.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from pertcast.evaluation.held_out import FloatArray, HeldOut, IndexArray
from pertcast.evaluation.metrics.metric import higher_is_better
from pertcast.evaluation.rowwise import RELATIVE_ROUNDING, row_blocks

_SOURCE: Final = "explained share of squares, with the training mean as reference"


def _squared_errors(prediction: FloatArray, held: HeldOut) -> tuple[FloatArray, FloatArray]:
    """Return (N,) squared errors of y and of m, the latter NaN where x is m up to rounding."""
    of_prediction, of_mean = np.empty(held.n_conditions), np.empty(held.n_conditions)
    for rows in row_blocks(held.n_conditions, held.n_genes):
        truth, mean = held.truth[rows].astype(np.float64), held.train_means(rows).astype(np.float64)
        of_prediction[rows] = np.square(truth - prediction[rows]).sum(axis=1)
        total = np.square(truth - mean).sum(axis=1)
        size = np.maximum(np.abs(truth).max(axis=1, initial=0.0), np.abs(mean).max(axis=1, initial=0.0))
        defined = total > held.n_genes * np.square(RELATIVE_ROUNDING * size)
        of_mean[rows] = np.where(defined, total, np.nan)
    return of_prediction, of_mean


def r2_train_mean(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """1 - sum (x - y)^2 / sum (x - m)^2 over genes, m the mean training response of the type and context.

    0 for m itself, below 0 for what is farther from the truth than m; NaN where x is m.
    """
    of_prediction, of_mean = _squared_errors(prediction, held)
    ratio: FloatArray = of_prediction / of_mean
    return 1.0 - ratio


def r2_train_mean_pooled(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """1 - sum (x - y)^2 / M, M the mean of sum (x - m)^2 over the held-out conditions of the type.

    Its mean over the conditions of a type is 1 - (all squared errors of y) / (all squared errors of m):
    conditions with large responses count by their size, where `r2_train_mean` counts all alike.
    """
    of_prediction, of_mean = _squared_errors(prediction, held)
    types = _types(held)
    sums = np.bincount(types, np.nan_to_num(of_mean))
    mean = sums / np.maximum(np.bincount(types), 1)
    ratio = np.full(held.n_conditions, np.nan)
    np.divide(of_prediction, mean[types], out=ratio, where=mean[types] > 0)
    return 1.0 - ratio


def _types(held: HeldOut) -> IndexArray:
    if "pert_type" not in held.conditions.columns:
        return np.zeros(held.n_conditions, dtype=np.int64)
    names = held.conditions["pert_type"].cast(pl.String).fill_null("").to_numpy()
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


TRAIN_MEAN_METRICS: Final = (
    higher_is_better("r2_train_mean", "R2 vs mean", r2_train_mean, _SOURCE, uninformative=None),
    higher_is_better("r2_train_mean_pooled", "R2 pooled", r2_train_mean_pooled, _SOURCE, uninformative=None),
)
