"""Tests of responses that are measured anew: which genes would be called if the noise had been another.

Which genes respond is itself found in noisy measurements. A simulated measurement must come with the tests
that it would have led to, or its prediction would be scored on the noise of the real one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy.stats import t as student

from pertcast.evaluation.held_out import FloatArray, GeneTests
from pertcast.evaluation.multiple_testing import benjamini_hochberg

CALLED_BELOW: Final = 0.05
_FREEDOM: Final = (2, 3, 4, 6, 8, 12, 20, 40, 100, 10_000)


@dataclass(frozen=True)
class Retest:
    """How a statistic follows from a response.

    Attributes
    ----------
    tests
        Of the real measurement.
    per_response
        (N, G) statistic over response: one over the standard error.
    freedom
        Degrees of freedom with which Student's t calls as many genes of the real measurement as its tests do.
    """

    tests: GeneTests
    per_response: FloatArray
    freedom: float

    @classmethod
    def learn(cls, tests: GeneTests, truth: FloatArray) -> Retest:
        """Learn from the tests of the real measurement, (N, G)."""
        per_response = np.divide(tests.statistic, truth, out=np.zeros(truth.shape), where=truth != 0)
        called = np.count_nonzero(tests.q_value < CALLED_BELOW)
        excess = [
            abs(np.count_nonzero(_q_values(tests.statistic, freedom) < CALLED_BELOW) - called)
            for freedom in _FREEDOM
        ]
        return cls(tests, np.abs(per_response), _FREEDOM[int(np.argmin(excess))])

    def of(self, responses: FloatArray) -> GeneTests:
        """Return the tests that (N, G) other responses of the same conditions would have."""
        statistic = np.where(np.isnan(self.tests.statistic), np.nan, responses * self.per_response)
        return replace(self.tests, statistic=statistic, q_value=_q_values(statistic, self.freedom))


def _q_values(statistic: FloatArray, freedom: float) -> FloatArray:
    q_values: FloatArray = benjamini_hochberg(2 * student.sf(np.abs(statistic), freedom))
    return q_values
