"""How alike profiles are when they are replicates, and when they are strangers; and what is beyond both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

FLOOR: Final = 0.95
"""No two profiles that correlate less are called copies."""

_LEARNT_FROM: Final = 2_048
_QUANTILE: Final = 0.99
_SPREADS: Final = 8.0
_MARGIN: Final = 0.1


@dataclass(frozen=True, slots=True)
class Likeness:
    """Correlations of residuals.

    Attributes
    ----------
    replicates
        99th percentile of a profile's nearest replicate; NaN without replicates.
    strangers
        Median of a profile's second-nearest profile of another condition.
    limit
        Above it two profiles of different conditions are copies.
    """

    replicates: float
    strangers: float
    limit: float


def learn_likeness(
    profiles: NDArray[np.float32], condition: NDArray[np.integer], random: np.random.Generator
) -> Likeness:
    """Learn the limit from up to 2,048 profiles against all.

    On Fisher's scale z = atanh(r), the limit is the largest of: r = 0.95; the 99th percentile of nearest
    replicates; the median plus eight robust spreads (1.4826 MAD) of second-nearest strangers (the nearest may
    be a copy, in a store that was written twice every one is). A margin of 0.1 is added.

    Parameters
    ----------
    profiles
        (N, D) float32 of length 1 (or sketches of such).
    condition
        (N,) condition of each.
    random
        Draws the sample.
    """
    chosen = np.sort(random.permutation(len(profiles))[:_LEARNT_FROM])
    own = np.full(len(chosen), np.nan, np.float32)
    other = np.full(len(chosen), np.nan, np.float32)
    for start in range(0, len(chosen), 256):
        queries = chosen[start : start + 256]
        correlation = profiles[queries] @ profiles.T
        correlation[np.arange(len(queries)), queries] = -np.inf
        same = condition[queries][:, None] == condition[None, :]
        own[start : start + 256] = _largest(np.where(same, correlation, -np.inf), 1)
        other[start : start + 256] = _largest(np.where(same, -np.inf, correlation), 2)
    z_own, z_other = (_fisher(values[~np.isnan(values)]) for values in (own, other))
    bounds = [_fisher(np.array([FLOOR]))[0]]
    if len(z_own):
        bounds.append(float(np.quantile(z_own, _QUANTILE)))
    middle = float(np.median(z_other)) if len(z_other) else 0.0
    if len(z_other):
        bounds.append(middle + _SPREADS * 1.4826 * float(np.median(np.abs(z_other - middle))))
    replicates = float(np.tanh(np.quantile(z_own, _QUANTILE))) if len(z_own) else float("nan")
    return Likeness(replicates, float(np.tanh(middle)), float(np.tanh(max(bounds) + _MARGIN)))


def _largest(values: NDArray[np.float32], place: int) -> NDArray[np.float32]:
    """Return the `place`-th largest value of each row, NaN where there are fewer."""
    if values.shape[1] < place:
        return np.full(len(values), np.nan, np.float32)
    largest = np.partition(values, -place, axis=1)[:, -place]
    result: NDArray[np.float32] = np.where(np.isfinite(largest), largest, np.nan)
    return result


def _fisher(correlation: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.arctanh(np.clip(correlation.astype(np.float64), -0.999999, 0.999999))
