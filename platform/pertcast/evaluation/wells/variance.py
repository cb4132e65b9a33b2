"""Per-gene variance of wells: within a cell line, and between the replicates of a condition."""

from __future__ import annotations

from typing import Final

import numpy as np

from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.wells.labelled import residuals

FURTHEST: Final = 100.0
"""Variance ratios are held within 1 / 100 and 100, so that one gene without variance does not decide."""


def variances(values: FloatArray, label: IndexArray, weight: FloatArray) -> FloatArray:
    """Return (D, G) float64 pooled variances within labels, one for each row of weights; NaN without freedom.

    sum_l sum_{i in l} w_i (x_i - m_l)^2 / sum_l (W_l - sum_{i in l} w_i^2 / W_l), with W_l = sum_{i in l} w_i
    and m_l the weighted mean: the usual unbiased variance where all weights are 1.

    Parameters
    ----------
    values
        (W, G).
    label
        (W,) context or condition of each well.
    weight
        (D, W) how often each well counts.
    """
    centred = residuals(values, label).astype(np.float64)
    total = weight @ np.square(centred)
    freedom = weight.sum(axis=1)
    for each in np.unique(label):
        members = label == each
        own = weight[:, members]
        size = own.sum(axis=1)
        drawn = np.where(size > 0, size, 1.0)
        freedom -= np.square(own).sum(axis=1) / drawn
        if (own != own[:, :1]).any():
            total -= np.square(own @ centred[members]) / drawn[:, None]
    found = np.full(total.shape, np.nan)
    has_freedom = freedom > 0
    found[has_freedom] = np.maximum(total[has_freedom], 0.0) / freedom[has_freedom, None]
    return found


def variance_ratios(generated: FloatArray, measured: FloatArray) -> FloatArray:
    """Return generated over measured variances, within 1 / 100 and 100; NaN where the measured one is 0."""
    found = np.full(measured.shape, np.nan)
    known = (measured > 0) & ~np.isnan(generated)
    np.divide(generated, measured, out=found, where=known)
    clipped: FloatArray = np.clip(found, 1 / FURTHEST, FURTHEST)
    return clipped


def closeness(ratios: FloatArray) -> FloatArray:
    """Return (D,) exp(-mean over genes of |log ratio|) of (D, G) ratios: 1 is best, twofold off is .5."""
    size = np.abs(np.log(ratios))
    known = ~np.isnan(size)
    count = known.sum(axis=1)
    total = np.where(known, size, 0.0).sum(axis=1)
    found = np.full(len(ratios), np.nan)
    found[count > 0] = np.exp(-total[count > 0] / count[count > 0])
    return found
