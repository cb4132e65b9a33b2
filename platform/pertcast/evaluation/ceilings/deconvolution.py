"""The distribution of a quantity without the error of its measurement.

Measured sizes of effects are more spread out than the true ones. The nonparametric maximum likelihood
estimate of the true distribution (Kiefer and Wolfowitz 1956; by expectation maximisation, Laird 1978) takes
the error out without assuming a shape: many effects are nil and few are large.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from pertcast.evaluation.held_out import FloatArray

_GRID: Final = 200
_ITERATIONS: Final = 300


def true_distribution(measured: FloatArray, error: FloatArray, grid: FloatArray) -> FloatArray:
    """Return (K,) probabilities of the grid's values.

    Parameters
    ----------
    measured
        (N,) measured values.
    error
        (N, K) standard deviation of the measured value if the true one is that of the grid; normal.
    grid
        (K,) possible true values.
    """
    distance = (measured[:, None] - grid) / error
    log_density = -0.5 * np.square(distance) - np.log(error)
    density = np.exp(log_density - log_density.max(axis=1, keepdims=True))
    share = np.full(len(grid), 1 / len(grid))
    for _ in range(_ITERATIONS):
        posterior = density * share
        posterior /= posterior.sum(axis=1, keepdims=True)
        share = posterior.mean(axis=0)
    return share


def without_error(measured: FloatArray, error: FloatArray, grid: FloatArray) -> FloatArray:
    """Return (N,) values in the order of the measured ones, distributed as the true ones.

    The k-th smallest measured value is given the k-th of N quantiles of `true_distribution`.
    """
    share = true_distribution(measured, error, grid)
    levels = (np.arange(len(measured)) + 0.5) / len(measured)
    quantiles = np.interp(levels, np.cumsum(share) - share / 2, grid)
    result = np.empty(len(measured))
    result[np.argsort(measured, kind="stable")] = quantiles
    return result


def energies_without_error(excess: FloatArray, constant: FloatArray, slope: float) -> FloatArray:
    """Return (N,) true squared norms, none negative, from estimates of variance constant + slope x truth.

    Parameters
    ----------
    excess
        (N,) estimates.
    constant
        (N,) their variance where there is no effect.
    slope
        By how much the variance grows with the truth.
    """
    largest = float(excess.max())
    if largest <= 0:
        return np.zeros(len(excess))
    grid = largest * np.square(np.linspace(0.0, 1.0, _GRID))
    return without_error(excess, np.sqrt(constant[:, None] + slope * grid), grid)


def values_without_error(measured: FloatArray, error: FloatArray) -> FloatArray:
    """Return (N,) true values from measured ones with normal errors of standard deviation `error` (N,)."""
    grid = np.linspace(float(measured.min()), float(measured.max()), _GRID)
    if grid[0] == grid[-1] or not error.all():
        return measured.copy()
    return without_error(measured, np.repeat(error[:, None], _GRID, axis=1), grid)
