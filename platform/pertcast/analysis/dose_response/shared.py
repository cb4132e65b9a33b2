"""Many curves together: one slope for those with few doses, and the error that none of them shows alone.

Three doses leave nothing to fit a slope with. Curves of one kind of experiment share it, and what is left
over in all of them is the error of a response.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.stats import t as t_distribution

from pertcast.analysis.association import LEVEL, FloatArray, plain_number
from pertcast.analysis.dose_response.fitted import LogLogisticFit, NoiseLevel
from pertcast.analysis.dose_response.log_logistic import (
    SLOPES,
    fit_log_logistic,
    residual_sums,
)

FREE_SLOPE_DOSES: Final = 5
"""Curves with so many distinct doses get a slope of their own."""
ASSUMED_SLOPE: Final = 1.0
"""Mass action: where too few curves are there to estimate one."""

_SLOPES_TRIED: Final = 121


@dataclass(frozen=True)
class ScalarCurve:
    """Responses along one direction: K doses, rising, and as many responses.

    Attributes
    ----------
    doses, responses
        (K,) each.
    weight
        Independent measurements that a response stands for; below 1 for a dense grid of a smooth curve.
    """

    doses: FloatArray
    responses: FloatArray
    weight: float = 1.0

    @property
    def has_own_slope(self) -> bool:
        """Whether there are doses enough to fit a slope to this curve alone."""
        return len(np.unique(self.doses)) >= FREE_SLOPE_DOSES

    @property
    def degrees(self) -> float:
        """What the curve contributes to the degrees of freedom of the common error.

        A dense grid counts as the doses it stands for, with two parameters.
        """
        fitted = 3 if self.has_own_slope and self.weight >= 1 else 2
        return max(len(self.doses) * self.weight - fitted, 0.0)


@dataclass(frozen=True, slots=True)
class SharedSlope:
    """The Hill slope of many curves, and the error of a response.

    Attributes
    ----------
    value
        Slope used for curves with fewer than five doses.
    low, high
        Profile-likelihood 95 % interval; NaN where it is assumed.
    noise
        Error of a response along the curves' directions; None where nothing is left to estimate it from.
    n_curves
        Curves behind it.
    is_assumed
        Whether the slope is 1 for want of curves.
    """

    value: float
    low: float
    high: float
    noise: NoiseLevel | None
    n_curves: int
    is_assumed: bool

    def words(self) -> str:
        """Write "1.32 [1.25, 1.40]"."""
        if self.is_assumed:
            return f"{self.value:.2f} (assumed)"
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers, None where undefined."""
        return {
            **{name: plain_number(getattr(self, name)) for name in ("value", "low", "high")},
            "noise_sd": None if self.noise is None else plain_number(math.sqrt(self.noise.variance)),
            "n_curves": self.n_curves,
            "is_assumed": self.is_assumed,
        }


def _least_sums(curves: Sequence[ScalarCurve], slopes: FloatArray) -> FloatArray:
    """Return (H, C) least weighted sums of squares of each curve for each slope; 0 without the compound."""
    least = np.empty((len(slopes), len(curves)))
    by_doses: dict[bytes, list[int]] = {}
    for place, curve in enumerate(curves):
        by_doses.setdefault(curve.doses.astype(np.float64).tobytes(), []).append(place)
    for places in by_doses.values():
        doses = curves[places[0]].doses
        responses = np.stack([curves[place].responses for place in places]).astype(np.float64)
        weights = np.array([curves[place].weight for place in places])
        for row, slope in enumerate(slopes):
            sums = residual_sums(doses, responses, np.array([slope]), 0.0)[0]
            least[row, places] = weights * sums.min(axis=1)
    return least


def shared_slope(curves: Sequence[ScalarCurve]) -> SharedSlope:
    """Return the slope that explains all curves best, each with its own levels and half-maximal dose.

    Parameters
    ----------
    curves
        Of one contender; the responses are relative to control, so that the curve starts at 0.

    Returns
    -------
    SharedSlope
        Slope 1, marked as assumed, where fewer than one degree of freedom is left in all curves, and where
        nothing responds at all.
    """
    degrees = sum(curve.degrees for curve in curves) - 1
    if degrees < 1:
        return SharedSlope(ASSUMED_SLOPE, math.nan, math.nan, None, len(curves), True)
    slopes = np.geomspace(*SLOPES, _SLOPES_TRIED)
    least = _least_sums(curves, slopes)
    total = least.sum(axis=1)
    if not total.any():
        return SharedSlope(ASSUMED_SLOPE, math.nan, math.nan, None, len(curves), True)
    best = int(np.argmin(total))
    own = np.array([curve.has_own_slope for curve in curves])
    rest = float(np.where(own, least.min(axis=0), least[best]).sum())
    noise = NoiseLevel(rest / degrees, int(degrees))
    bound = noise.variance * float(t_distribution.ppf((1 + LEVEL) / 2, noise.degrees)) ** 2
    inside = slopes[total <= total[best] + bound]
    return SharedSlope(
        float(slopes[best]), float(inside.min()), float(inside.max()), noise, len(curves), False
    )


def fit_curves(curves: Sequence[ScalarCurve]) -> tuple[tuple[LogLogisticFit, ...], SharedSlope]:
    """Fit the curves of one contender: own slopes from five doses on, the shared one below.

    The interval of a half-maximal dose is conditional on the shared slope.
    """
    shared = shared_slope(curves)
    fits = tuple(
        fit_log_logistic(
            curve.doses,
            curve.responses,
            slope=None if curve.has_own_slope else shared.value,
            noise=shared.noise,
            weight=curve.weight,
        )
        for curve in curves
    )
    return fits, shared
