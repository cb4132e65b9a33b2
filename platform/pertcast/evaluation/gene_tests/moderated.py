"""Moderated t-tests: a gene's variance is drawn towards what is usual among all genes of the condition.

Smyth (2004), "Linear models and empirical Bayes methods for assessing differential expression in microarray
experiments": s^2 given sigma^2 is sigma^2 chi^2_d / d, and 1 / sigma^2 is chi^2_d0 / (d0 s0^2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, polygamma, stdtr

from pertcast.evaluation.held_out import FloatArray


@dataclass(frozen=True)
class Moderated:
    """Tests of G genes of C conditions: (C, G) float64 statistics and two-sided p values; NaN if untested."""

    statistic: FloatArray
    p_value: FloatArray


def inverse_trigamma(value: FloatArray) -> FloatArray:
    """Return y with trigamma(y) = value > 0, by the Newton iteration of Smyth (2004), appendix."""
    y = 0.5 + 1.0 / value
    for _ in range(50):
        trigamma = polygamma(1, y)
        step = trigamma * (1.0 - trigamma / value) / polygamma(2, y)
        y = y + step
        if np.max(-step / y, initial=0.0) < 1e-10:
            break
    return np.asarray(y, dtype=np.float64)


def fit_prior(variance: FloatArray, freedom: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return (C,) prior degrees of freedom d0 (may be infinite) and prior variances s0^2.

    Parameters
    ----------
    variance
        (C, G) residual variances; zeros take no part.
    freedom
        (C,) degrees of freedom d of the residual variances.
    """
    half = freedom[:, None] / 2.0
    usable = variance > 0
    count = usable.sum(axis=1)
    e = np.where(usable, np.log(np.where(usable, variance, 1.0)) - digamma(half) + np.log(half), 0.0)
    centre = e.sum(axis=1) / np.maximum(count, 1)
    spread = np.where(usable, np.square(e - centre[:, None]), 0.0).sum(axis=1) / np.maximum(count - 1, 1)
    excess = spread - polygamma(1, half[:, 0])
    d0 = np.full(len(variance), np.inf)
    s0 = np.exp(centre)
    more = (excess > 0) & (count > 1)
    d0[more] = 2.0 * inverse_trigamma(excess[more])
    s0[more] = np.exp(centre[more] + digamma(d0[more] / 2.0) - np.log(d0[more] / 2.0))
    return d0, np.where(count > 0, s0, np.nan)


def moderated_t(
    effect: FloatArray, factor: FloatArray, variance: FloatArray, freedom: FloatArray
) -> Moderated:
    """Test effects against 0: t = effect / (s~ sqrt(factor)), s~^2 = (d0 s0^2 + d s^2) / (d0 + d).

    Parameters
    ----------
    effect, variance
        (C, G) estimates, and residual variances s^2 of one profile.
    factor
        (C,) variance of an effect in units of s^2.
    freedom
        (C,) degrees of freedom d of s^2; conditions with none are not tested (NaN).
    """
    statistic, p_value = np.full(effect.shape, np.nan), np.full(effect.shape, np.nan)
    testable = freedom > 0
    if testable.any():
        d, s = freedom[testable].astype(np.float64), variance[testable]
        d0, s0 = fit_prior(s, d)
        weight = np.where(np.isinf(d0), 1.0, np.divide(d0, d0 + d, where=~np.isinf(d0), out=np.ones_like(d0)))
        posterior = weight[:, None] * s0[:, None] + (1.0 - weight[:, None]) * s
        t = effect[testable] / np.sqrt(posterior * factor[testable, None])
        statistic[testable] = t
        total = np.minimum(d0 + d, 1e8)[:, None]
        p_value[testable] = 2.0 * stdtr(total, -np.abs(t))
    return Moderated(statistic, p_value)
