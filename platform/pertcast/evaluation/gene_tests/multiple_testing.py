"""Correction of p values for the number of genes tested."""

from __future__ import annotations

import numpy as np

from pertcast.evaluation.held_out import FloatArray


def benjamini_hochberg(p_value: FloatArray) -> FloatArray:
    """Return (N, G) float64 q values of (N, G) p values, over the genes of each row; NaN stays NaN.

    Benjamini and Hochberg (1995): q_(i) = min over j >= i of p_(j) m / j.
    """
    p = np.asarray(p_value, dtype=np.float64)
    order = np.argsort(p, axis=1, kind="stable")
    tested = np.sum(~np.isnan(p), axis=1, keepdims=True)
    steps = np.take_along_axis(p, order, axis=1) * tested / np.arange(1, p.shape[1] + 1)
    steps = np.fmin.accumulate(steps[:, ::-1], axis=1)[:, ::-1]
    q = np.empty_like(p)
    np.put_along_axis(q, order, np.minimum(steps, 1.0), axis=1)
    return np.where(np.isnan(p), np.nan, q)
