"""Risk and coverage: the error that is left when the least certain predictions are refused."""

from __future__ import annotations

from typing import Final

import numpy as np

from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.parts import RiskCoverage

SHARES: Final = tuple(round(1 - 0.05 * step, 2) for step in range(19))
"""Shares kept, from all down to a tenth."""


def _kept_errors(error: FloatArray, order: IndexArray) -> FloatArray:
    """Return mean errors of the first conditions in `order`, one for each share (at least one is kept)."""
    running = np.cumsum(error[order]) / np.arange(1, len(error) + 1)
    counts = np.maximum(1, np.ceil(np.array(SHARES) * len(error) - 1e-9).astype(np.int64))
    kept: FloatArray = running[counts - 1]
    return kept


def risk_coverage(error: FloatArray, order: FloatArray, ordered_by: str) -> RiskCoverage | None:
    """Return the mean error by share kept, if conditions are refused by `order`, the largest first.

    Parameters
    ----------
    error
        (N,) error of each condition (root mean square over genes).
    order
        (N,) what conditions are refused by: the stated standard deviation, or the distance to training. NaN
        is refused before all others; ties: the later condition goes first.
    ordered_by
        Name of `order`.

    Returns
    -------
    RiskCoverage or None
        None without conditions, or where `order` is unknown or the same for all of them.
    """
    known = order[~np.isnan(order)]
    if not len(known) or (len(known) == len(order) and known.min() == known.max()):
        return None
    refused_last = np.argsort(np.where(np.isnan(order), np.inf, order), kind="stable")
    best = np.argsort(error, kind="stable")
    return RiskCoverage(
        kept=np.array(SHARES),
        error=_kept_errors(error, refused_last),
        oracle=_kept_errors(error, best),
        ordered_by=ordered_by,
    )
