"""Correction of p-values for how many of them were looked at: the one that analysis and evaluation share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def benjamini_hochberg(p_values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the q value of every p-value, over the last axis.

    q_(i) = min over j >= i of p_(j) m / j, and at most 1 (Benjamini and Hochberg, J R Stat Soc B 57, 1995):
    the smallest false-discovery rate at which p_(i) is a discovery.

    Parameters
    ----------
    p_values
        (..., M), each row corrected by itself. NaN: not tested. It stays NaN and is not counted in m; a row
        of NaN alone stays one.

    Returns
    -------
    ndarray
        (..., M) float64.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, axis=-1, kind="stable")
    tested = np.sum(~np.isnan(p), axis=-1, keepdims=True)
    steps = np.take_along_axis(p, order, axis=-1) * tested / np.arange(1, p.shape[-1] + 1)
    steps = np.fmin.accumulate(steps[..., ::-1], axis=-1)[..., ::-1]
    q = np.empty_like(p)
    np.put_along_axis(q, order, np.minimum(steps, 1.0), axis=-1)
    return np.where(np.isnan(p), np.nan, q)
