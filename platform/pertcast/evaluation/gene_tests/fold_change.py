"""Fold changes of mean expression between cells and their controls."""

from __future__ import annotations

import numpy as np

from pertcast.evaluation.held_out import FloatArray


def log_fold_change(mean: FloatArray, control_mean: FloatArray) -> FloatArray:
    """Return log2 (expm1 mean / expm1 control_mean) of means of log1p values, as cell-eval 0.8.2 has it.

    0 where both are zero or a mean is negative; infinite where one is zero, as nothing is added to the means.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.expm1(mean.astype(np.float64)) / np.expm1(control_mean.astype(np.float64))
        change: FloatArray = np.log2(ratio)
    return np.where(np.isnan(change), 0.0, change)
