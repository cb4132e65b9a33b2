"""Benjamini-Hochberg over the last axis, held against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pertcast.multiple_testing import benjamini_hochberg
from scipy.stats import false_discovery_control


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), g=st.integers(1, 40))
def test_benjamini_hochberg_equals_scipy_and_passes_over_what_was_not_tested(seed: int, g: int) -> None:
    generator = np.random.default_rng(seed)
    p = np.round(generator.uniform(0, 1, (3, g)) ** 3, 2)
    for found, row in zip(benjamini_hochberg(p), p, strict=True):
        assert found == pytest.approx(false_discovery_control(row), abs=1e-12)
        assert np.array_equal(found, benjamini_hochberg(row))
    holes = np.insert(p, g // 2, np.nan, axis=1)
    found = benjamini_hochberg(holes)
    assert np.isnan(found[:, g // 2]).all()
    assert np.array_equal(np.delete(found, g // 2, axis=1), benjamini_hochberg(p))


def test_what_was_not_tested_is_not_counted() -> None:
    found = benjamini_hochberg(np.array([[0.01, 0.04, 0.03, np.nan, 0.5], [np.nan] * 5]))
    np.testing.assert_allclose(found[0, [0, 1, 2, 4]], [0.04, 0.16 / 3, 0.16 / 3, 0.5])
    assert np.isnan(found[0, 3])
    assert np.isnan(found[1]).all()


@pytest.mark.parametrize("shape", [(0,), (0, 5), (3, 0)])
def test_nothing_tested_has_no_q_value(shape: tuple[int, ...]) -> None:
    assert benjamini_hochberg(np.empty(shape)).shape == shape
