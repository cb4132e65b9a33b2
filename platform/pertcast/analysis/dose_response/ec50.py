"""How far generated half-maximal doses agree with measured ones: statements are counted, and no guesses."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pertcast.analysis.association import (
    Interval,
    clustered_mean,
    clustered_pearson,
    plain_number,
)
from pertcast.analysis.dose_response.curves import Curve, Key
from pertcast.analysis.dose_response.fitted import LogLogisticFit

STATES: Final = ("identified", "open", "above", "below", "flat")


@dataclass(frozen=True)
class Ec50Agreement:
    """Generated against measured half-maximal doses of one contender.

    Attributes
    ----------
    title
        The contender; "measured" for the measured curves themselves (then nothing but `states` is said).
    within_twofold, within_twofold_strong
        Share of curves, among those with an identified measured dose, of which the contender says nothing
        that is off by more than a factor of two ("flat" is wrong): all, and the strongest third.
    log_pearson
        Pearson of log EC50 over the curves where both are identified.
    amplitude
        Median of generated over measured response along the direction at the highest dose, strong curves.
    states
        How many curves are identified, open, above, below, flat.
    """

    title: str
    within_twofold: Interval
    within_twofold_strong: Interval
    log_pearson: Interval
    amplitude: float
    states: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers, None where undefined."""
        names = ("within_twofold", "within_twofold_strong", "log_pearson")
        return {
            "title": self.title,
            **{name: getattr(self, name).to_json() for name in names},
            "amplitude": plain_number(self.amplitude),
            "states": dict(self.states),
        }


def compare_ec50(
    title: str,
    curves: Sequence[Curve],
    measured: Mapping[Key, LogLogisticFit],
    generated: Mapping[Key, LogLogisticFit],
    amplitudes: Mapping[Key, float],
    *,
    n_draws: int,
    seed: int,
) -> Ec50Agreement:
    """Compare the statements of a contender with those of the measured curves.

    Parameters
    ----------
    title
        The contender.
    curves
        C curves.
    measured, generated, amplitudes
        Of each curve, by its key: the two fits, and generated over measured response at the highest dose
        (NaN where undefined).
    n_draws, seed
        Of the bootstrap over perturbations.
    """
    truth, fits = ([found[curve.key] for curve in curves] for found in (measured, generated))
    known = np.array([fit.is_identified for fit in truth], dtype=bool)
    both = known & np.array([fit.is_identified for fit in fits], dtype=bool)
    strong = np.array([curve.is_strong for curve in curves], dtype=bool)
    cluster = np.array([curve.pert_id for curve in curves], dtype=np.str_)
    hits = np.array([fit.agrees_with(own.ec50) for fit, own in zip(fits, truth, strict=True)], dtype=float)
    logs = [np.log10([fit.ec50 for fit in found]) for found in (fits, truth)]
    sizes = [amplitudes[c.key] for c in curves if c.is_strong and math.isfinite(amplitudes[c.key])]
    counted = Counter(fit.state for fit in fits)
    return Ec50Agreement(
        title=title,
        within_twofold=clustered_mean(hits[known], cluster[known], n_draws, seed),
        within_twofold_strong=clustered_mean(hits[known & strong], cluster[known & strong], n_draws, seed),
        log_pearson=clustered_pearson(logs[0][both], logs[1][both], cluster[both], n_draws, seed),
        amplitude=float(np.median(sizes)) if len(sizes) else float("nan"),
        states={state: counted.get(state, 0) for state in STATES},
    )
