"""Tests of responses that are measured anew: which genes would be called if the noise had been another.

Which genes respond is itself found in noisy measurements. A simulated measurement must come with the tests
that it would have led to, or its prediction would be scored on the noise of the real one.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import numpy as np
from scipy.special import stdtr

from pertcast.evaluation.held_out import FloatArray, GeneTests, IndexArray
from pertcast.evaluation.metrics.responses import SIGNIFICANT
from pertcast.multiple_testing import benjamini_hochberg

_PRIOR: Final = 4.0
_FREEDOM: Final = (2, 3, 4, 6, 8, 12, 20, 40, 100, 10_000)


@dataclass(frozen=True)
class Retest:
    """How a statistic follows from a response.

    Attributes
    ----------
    tests
        Of the real measurement.
    per_response
        (N, G) statistic over response: about one over the standard error.
    freedom
        Degrees of freedom with which Student's t calls as many genes of the real measurement as its tests do.
    """

    tests: GeneTests
    per_response: FloatArray
    freedom: float

    @classmethod
    def learn(cls, tests: GeneTests, truth: FloatArray) -> Retest:
        """Learn from the tests of the real measurement, (N, G)."""
        return cls(tests, _per_response(tests.statistic, truth), _like_freedom(tests))

    def take(self, index: IndexArray) -> Retest:
        """Return what is known of the conditions at `index`."""
        return replace(self, tests=self.tests.take(index), per_response=self.per_response[index])

    def of(self, responses: FloatArray) -> GeneTests:
        """Return the tests that (N, G) other responses of the same conditions would have."""
        statistic = np.where(np.isnan(self.tests.statistic), np.nan, responses * self.per_response)
        return replace(self.tests, statistic=statistic, q_value=_q_values(statistic, self.freedom))


def _per_response(statistic: FloatArray, response: FloatArray) -> FloatArray:
    """Return (N, G) |statistic / response|, as is usual for gene and condition where both are small.

    sqrt((z^2 + k) / (x^2 + k / u)), u the usual squared ratio and k = 4. A rank test's statistic does not
    follow the mean response: where that is near 0 their ratio alone says nothing, and would call the gene
    whatever is measured next.
    """
    known = ~np.isnan(statistic)
    squared = [np.where(known, np.square(v, dtype=np.float64), 0.0) for v in (statistic, response)]
    by_gene = _ratio(squared[0].sum(axis=0), squared[1].sum(axis=0))
    by_condition = _ratio(squared[0].sum(axis=1), squared[1] @ by_gene)
    usual = by_condition[:, None] * by_gene
    prior = _ratio(np.full_like(usual, _PRIOR), usual)
    found: FloatArray = np.sqrt(_ratio(squared[0] + _PRIOR, squared[1] + prior))
    return np.where(usual > 0, found, 0.0)


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _like_freedom(tests: GeneTests) -> float:
    """Return the degrees of freedom that call about as many genes as the tests do; more call more."""

    @cache
    def called(freedom: float) -> int:
        return int(np.count_nonzero(_q_values(tests.statistic, freedom) < SIGNIFICANT))

    wanted = int(np.count_nonzero(tests.q_value < SIGNIFICANT))
    above = bisect_left(_FREEDOM, wanted, key=called)
    near = _FREEDOM[max(above - 1, 0) : above + 1]
    return min(near, key=lambda freedom: abs(called(freedom) - wanted))


def _q_values(statistic: FloatArray, freedom: float) -> FloatArray:
    return benjamini_hochberg(2 * stdtr(freedom, -np.abs(statistic)))
