"""What is found of populations of wells: scores with intervals, variance ratios, matrices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from pertcast.evaluation.bootstrap import Estimate
from pertcast.evaluation.held_out import FloatArray
from pertcast.evaluation.parts import GeneCorrelation
from pertcast.evaluation.scores.score_board import Contender

TOLERANCE: Final = 0.05
"""A score this far below the measured halves' counts as reaching them."""

_STRETCH: Final = 1.346
"""From the lower arm of a 95 % interval to that of 1 - .05 / 6, as of a normal: six scores are looked at."""


@dataclass(frozen=True)
class WellScores:
    """One contender's wells against the measured ones.

    Attributes
    ----------
    contender
        Who.
    scores
        Measure of `scores.MEASURES` -> score, 1 for a perfect population.
    variance_ratio
        "context" and "replicates" -> (G,) generated over measured variance; NaN where undefined.
    distance
        "e_distance" and "mmd" -> the distance itself, mean over cell lines.
    """

    contender: Contender
    scores: Mapping[str, Estimate]
    variance_ratio: Mapping[str, FloatArray]
    distance: Mapping[str, float]

    def ratio_quartiles(self, level: str) -> tuple[float, float, float]:
        """Return lower quartile, median and upper quartile over genes of the variance ratios."""
        known = self.variance_ratio[level][~np.isnan(self.variance_ratio[level])]
        if not len(known):
            return math.nan, math.nan, math.nan
        low, middle, high = np.quantile(known, [0.25, 0.5, 0.75])
        return float(low), float(middle), float(high)


@dataclass(frozen=True)
class WellCounts:
    """What is compared.

    Attributes
    ----------
    n_generated, n_measured
        Wells of each contender, and wells that they are compared with.
    n_conditions, n_perturbations, n_contexts, n_correlated_genes
        What they are of.
    n_repetitions
        How often the wells were generated; scores are means over the repetitions.
    """

    n_generated: int
    n_measured: int
    n_conditions: int
    n_perturbations: int
    n_contexts: int
    n_correlated_genes: int
    n_repetitions: int


@dataclass(frozen=True)
class WellResult:
    """Generated wells beside measured ones.

    Attributes
    ----------
    contenders
        The model first, then independent noise, replicate noise alone, and the measured halves where there
        are replicates to halve.
    to_halves, to_noise
        Measure -> paired difference of the model's score to that of the measured halves, and to that of
        independent noise; the former empty without halves.
    genes
        Names of the G genes that variance ratios are of.
    correlations
        "context" and "replicates" -> matrices over wells of the measured wells, the model's and independent
        noise, by title, and each contender's agreement with the measured ones.
    counts
        What is compared.
    remarks
        Sentences about what was left out.
    """

    contenders: tuple[WellScores, ...]
    to_halves: Mapping[str, Estimate]
    to_noise: Mapping[str, Estimate]
    genes: tuple[str, ...]
    correlations: Mapping[str, GeneCorrelation]
    counts: WellCounts
    remarks: tuple[str, ...] = ()

    @property
    def model(self) -> WellScores:
        """What is judged."""
        return self.contenders[0]

    @property
    def has_halves(self) -> bool:
        """Whether there are measured halves to compare with."""
        return bool(self.to_halves)

    def of(self, name: str) -> WellScores:
        """Return a contender by name; raises KeyError naming those there are."""
        for found in self.contenders:
            if found.contender.name == name:
                return found
        raise KeyError(f"{name!r} is none of {[found.contender.name for found in self.contenders]}")

    def reaches_halves(self, measure: str) -> bool | None:
        """Return whether the model is at most `TOLERANCE` below the measured halves; None where unknown."""
        gap = self.to_halves.get(measure)
        return None if gap is None or math.isnan(gap.mean) else gap.mean >= -TOLERANCE

    def beats_noise(self, measure: str) -> bool | None:
        """Return whether the gain over independent noise is above 0, corrected for six scores.

        None where it is unknown.
        """
        gain = self.to_noise[measure]
        if math.isnan(gain.mean) or math.isnan(gain.low):
            return None
        return gain.mean - _STRETCH * (gain.mean - gain.low) > 0
