"""The log-logistic fit: known curves are found, scales do not matter, what is not determined is not said."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pertcast.analysis.dose_response import LogLogisticFit, NoiseLevel, fit_log_logistic
from pertcast.analysis.dose_response.shared import ASSUMED_SLOPE, ScalarCurve, fit_curves, shared_slope
from pertcast_data.errors import ConfigError, SchemaError

THREE = np.array([0.1, 1.0, 10.0])
MANY = np.geomspace(0.01, 100.0, 13)


def curve(
    doses: NDArray[np.float64], ec50: float, top: float = 2.0, slope: float = 1.3
) -> NDArray[np.float64]:
    values: NDArray[np.float64] = top / (1 + (ec50 / doses) ** slope)
    return values


@given(st.floats(0.05, 20.0), st.floats(0.5, 4.0), st.floats(-5.0, 5.0).filter(lambda v: abs(v) > 0.1))
@settings(max_examples=40, deadline=None)
def test_a_curve_without_noise_is_found_with_its_slope(ec50: float, slope: float, top: float) -> None:
    found = fit_log_logistic(MANY, curve(MANY, ec50, top, slope))
    assert found.ec50 == pytest.approx(ec50, rel=1e-3)
    assert found.slope == pytest.approx(slope, rel=1e-3)
    assert found.top == pytest.approx(top, rel=1e-3)
    assert found.state == "identified"


def test_four_parameters_are_fitted_where_there_are_doses_enough() -> None:
    values = 0.7 + curve(MANY, 2.0, top=-1.5, slope=0.9)
    found = fit_log_logistic(MANY, values, bottom=None)
    assert found.bottom == pytest.approx(0.7, abs=1e-3)
    assert found.top == pytest.approx(-0.8, abs=1e-3)
    assert (found.ec50, found.slope) == pytest.approx((2.0, 0.9), rel=1e-2)
    assert np.allclose(found.response(MANY), values, atol=1e-4)


@given(st.integers(0, 10**6), st.floats(1e-3, 1e3), st.sampled_from([-1.0, 1.0]))
@settings(max_examples=25, deadline=None)
def test_scaling_the_response_leaves_the_half_maximal_dose(seed: int, factor: float, sign: float) -> None:
    random = np.random.default_rng(seed)
    values = curve(MANY, 1.7) + random.normal(0.0, 0.1, len(MANY))
    plain, scaled = (fit_log_logistic(MANY, values * each) for each in (1.0, sign * factor))
    assert scaled.ec50 == pytest.approx(plain.ec50, rel=1e-3)
    assert (scaled.low, scaled.high) == pytest.approx((plain.low, plain.high), rel=1e-3)
    assert scaled.top == pytest.approx(plain.top * sign * factor, rel=1e-3)
    assert scaled.state == plain.state


@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
@settings(max_examples=25, deadline=None)
def test_scaling_the_doses_scales_the_half_maximal_dose(seed: int, factor: float) -> None:
    random = np.random.default_rng(seed)
    values = curve(THREE, 0.6) + random.normal(0.0, 0.05, 3)
    noise = NoiseLevel(0.05**2, 30)
    plain, scaled = (fit_log_logistic(THREE * each, values, slope=1.3, noise=noise) for each in (1.0, factor))
    assert scaled.ec50 == pytest.approx(plain.ec50 * factor, rel=1e-3)
    assert (scaled.low, scaled.high) == pytest.approx((plain.low * factor, plain.high * factor), rel=1e-3)
    assert scaled.state == plain.state


@pytest.mark.parametrize("ec50", [0.3, 1.0, 3.0])
def test_intervals_hold_the_truth_as_often_as_they_say(ec50: float) -> None:
    random, sd, inside = np.random.default_rng(7), 0.15, 0
    trials = 200
    for _ in range(trials):
        values = curve(THREE, ec50) + random.normal(0.0, sd, 3)
        found = fit_log_logistic(THREE, values, slope=1.3, noise=NoiseLevel(sd**2, 200))
        inside += found.low <= ec50 <= found.high
    assert 0.91 <= inside / trials <= 0.99


def test_intervals_from_the_curve_itself_hold_the_truth_too() -> None:
    random, inside, trials = np.random.default_rng(8), 0, 60
    for _ in range(trials):
        values = curve(MANY, 2.0) + random.normal(0.0, 0.2, len(MANY))
        found = fit_log_logistic(MANY, values)
        inside += found.low <= 2.0 <= found.high
    assert inside / trials >= 0.88


def test_no_response_is_called_flat_and_rarely_anything_else() -> None:
    random, flat, trials = np.random.default_rng(9), 0, 200
    for _ in range(trials):
        found = fit_log_logistic(THREE, random.normal(0.0, 0.2, 3), slope=1.3, noise=NoiseLevel(0.2**2, 100))
        flat += found.state == "flat"
    assert flat / trials >= 0.93
    nothing = fit_log_logistic(THREE, np.zeros(3), slope=1.3)
    assert nothing.words() == "flat"
    assert not nothing.agrees_with(1.0)


def test_a_half_maximal_dose_beyond_the_tested_ones_is_no_number() -> None:
    noise = NoiseLevel(0.02**2, 50)
    above = fit_log_logistic(THREE, curve(THREE, 60.0, top=5.0), slope=1.3, noise=noise)
    below = fit_log_logistic(THREE, curve(THREE, 0.01), slope=1.3, noise=noise)
    assert above.words() == "> 10 (top dose)"
    assert below.words() == "< 0.1 (lowest dose)"
    assert above.to_json()["ec50"] is None
    assert above.to_json()["top"] is None
    assert not above.is_identified
    assert above.agrees_with(200.0) and not above.agrees_with(0.5)
    assert below.agrees_with(0.01) and not below.agrees_with(1.0)


@pytest.mark.parametrize(("sd", "words"), [(0.2, "> "), (0.4, "not determined")])
def test_an_interval_without_end_is_said_as_one_bound_or_as_nothing(sd: float, words: str) -> None:
    values = curve(THREE, 8.0, slope=1.0)
    found = fit_log_logistic(THREE, values, slope=1.0, noise=NoiseLevel(sd**2, 20))
    assert found.state == "open"
    assert math.isinf(found.high)
    assert found.words().startswith(words)
    assert found.to_json()["ec50"] is None


def test_three_doses_give_a_number_but_no_interval_where_the_error_is_unknown() -> None:
    found = fit_log_logistic(THREE, curve(THREE, 0.6), slope=1.3, noise=None)
    assert found.ec50 == pytest.approx(0.6, rel=1e-3)
    with pytest.raises(ConfigError, match="3 distinct doses do not determine 3 parameters; 4 are needed"):
        fit_log_logistic(THREE, curve(THREE, 0.6))


def test_a_dense_grid_does_not_narrow_the_interval_like_so_many_measurements() -> None:
    grid = np.geomspace(0.1, 10.0, 30)
    bent = curve(grid, 0.6) + 0.05 * np.sin(3 * np.log(grid))
    noise = NoiseLevel(0.1**2, 30)
    full = fit_log_logistic(grid, bent, slope=1.3, noise=noise)
    thin = fit_log_logistic(grid, bent, slope=1.3, noise=noise, weight=3 / 30)
    assert thin.ec50 == pytest.approx(full.ec50, rel=1e-6)
    assert thin.high / thin.low > 1.5 * full.high / full.low


@pytest.mark.parametrize(
    ("doses", "responses", "words"),
    [
        ([0.0, 1.0, 10.0], [0.0, 1.0, 2.0], "A dose of 0 has no place on a log scale"),
        ([0.1, 1.0, 10.0], [0.0, np.nan, 2.0], "response at dose 1 is not finite"),
        ([0.1, 1.0], [0.0, 1.0, 2.0], r"\(2,\) doses and \(3,\) responses"),
    ],
)
def test_what_is_no_curve_is_refused(doses: list[float], responses: list[float], words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        fit_log_logistic(np.array(doses), np.array(responses), slope=1.0)


def test_curves_with_three_doses_share_their_slope_and_tell_their_error() -> None:
    random = np.random.default_rng(0)
    truth = 10.0 ** random.uniform(-0.7, 0.7, 60)
    curves = [ScalarCurve(THREE, curve(THREE, ec50, slope=1.8) + random.normal(0, 0.05, 3)) for ec50 in truth]
    shared = shared_slope(curves)
    assert shared.low <= 1.8 <= shared.high
    assert shared.high / shared.low < 1.3
    assert shared.noise is not None
    assert math.sqrt(shared.noise.variance) == pytest.approx(0.05, rel=0.3)
    fits, _ = fit_curves(curves)
    assert np.mean([fit.agrees_with(ec50) for fit, ec50 in zip(fits, truth, strict=True)]) > 0.95
    covered = [fit.low <= ec50 <= fit.high for fit, ec50 in zip(fits, truth, strict=True)]
    assert np.mean(covered) > 0.85


def test_one_curve_with_three_doses_has_no_slope_and_nothing_at_all_neither() -> None:
    for curves in ([ScalarCurve(THREE, curve(THREE, 1.0))], [ScalarCurve(THREE, np.zeros(3))] * 5):
        shared = shared_slope(curves)
        assert shared.is_assumed
        assert shared.value == ASSUMED_SLOPE
        assert shared.words() == "1.00 (assumed)"


def test_doses_enough_give_a_curve_its_own_slope() -> None:
    curves = [ScalarCurve(MANY, curve(MANY, 1.0, slope=slope)) for slope in (0.8, 3.0)]
    fits, _ = fit_curves(curves)
    assert [fit.slope for fit in fits] == pytest.approx([0.8, 3.0], rel=1e-2)


def test_statements_are_right_within_twofold_of_what_they_say() -> None:
    def at(ec50: float, state: str) -> LogLogisticFit:
        return LogLogisticFit(0.0, 1.0, ec50, 1.0, ec50 / 2, ec50 * 2, state, 0.0, 0.1, 10.0)  # type: ignore[arg-type]

    assert at(1.0, "identified").agrees_with(1.9)
    assert not at(1.0, "identified").agrees_with(2.1)
    assert at(500.0, "above").agrees_with(5.1)
    assert not at(500.0, "above").agrees_with(4.9)
    assert at(0.001, "below").agrees_with(0.19)
    assert not at(0.001, "below").agrees_with(0.21)
