"""Dose curves of screens: planted curves are found, and what a shape does not determine is said in words."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pertcast.analysis.dose_response import fit_log_logistic
from pertcast.analysis.dose_response.curves import main_direction
from pertcast.analysis.screened_doses import (
    SCREENED_DOSES_SCHEMA,
    STATES,
    fit_log_logistic_curves,
    fit_screened_doses,
    half_maximal_words,
    project_curves,
)
from pertcast_data.errors import ConfigError, SchemaError

Floats = NDArray[np.float64]
SIX = np.geomspace(0.04, 10.0, 6)
N_GENES = 7


def saturating(ec50: Floats, slope: Floats, top: Floats, doses: Floats = SIX) -> Floats:
    values: Floats = top[:, None] / (1 + (ec50[:, None] / doses) ** slope[:, None])
    return values


def along(values: Floats, seed: int = 0) -> Floats:
    """(M, D, G) responses of that root mean square along one direction a curve."""
    directions = np.random.default_rng(seed).normal(size=(len(values), 1, N_GENES))
    directions /= np.sqrt(np.square(directions).mean(axis=2, keepdims=True))
    return values[:, :, None] * directions


def repeated(doses: Floats, n_curves: int) -> Floats:
    return np.tile(doses, (n_curves, 1))


def fitted(values: list[float], doses: Floats = SIX, **options: float | None) -> dict[str, object]:
    curve = np.array([values])
    return fit_screened_doses(doses[None, : len(values)], along(curve), **options).to_dicts()[0]


def test_planted_curves_are_found_to_rounding() -> None:
    random = np.random.default_rng(1)
    ec50, slope = 10 ** random.uniform(-1.3, 0.9, 400), random.uniform(0.4, 3.0, 400)
    top = random.uniform(0.2, 3.0, 400)
    table = fit_screened_doses(repeated(SIX, 400), along(saturating(ec50, slope, top)))
    assert table.schema == SCREENED_DOSES_SCHEMA
    known = (table["state"] == "identified").to_numpy()
    assert known.mean() > 0.95 and set(table["state"]) <= {"identified", "open"}
    for name, truth in (("ec50", ec50), ("slope", slope), ("top", top)):
        np.testing.assert_allclose(table[name].to_numpy()[known], truth[known], rtol=1e-7)
    assert table["direction_share"].to_numpy() == pytest.approx(1.0)
    assert table["r2"].to_numpy() == pytest.approx(1.0)


def test_the_bounds_hold_the_planted_half_maximal_dose() -> None:
    random = np.random.default_rng(2)
    ec50, slope = 10 ** random.uniform(-2.4, 2.0, 300), random.uniform(0.4, 4.0, 300)
    responses = along(saturating(ec50, slope, np.ones(300)))
    table = fit_screened_doses(repeated(SIX, 300), responses, smallest_effect=0.0)
    low = table["ec50_low"].fill_null(0.0).to_numpy()
    high = table["ec50_high"].fill_null(np.inf).to_numpy()
    assert set(table["state"]) == {"identified", "open", "above", "below"}
    assert ((low <= ec50) & (ec50 <= high)).all()


@pytest.mark.parametrize("bottom", [0.0, None])
def test_curves_that_are_no_sigmoid_get_the_fit_of_the_single_curve(bottom: float | None) -> None:
    random = np.random.default_rng(3)
    doses = np.geomspace(0.01, 30.0, 7)
    ec50, slope = 10 ** random.uniform(-1.0, 0.5, 40), random.uniform(0.6, 3.0, 40)
    values = saturating(ec50, slope, random.uniform(-2.0, 2.0, 40), doses)
    values *= random.normal(1.0, 0.05, values.shape)
    found = fit_log_logistic_curves(repeated(doses, 40), values, bottom=bottom)
    single = [fit_log_logistic(doses, row, bottom=bottom) for row in values]
    sums = np.array([fit.sum_of_squares for fit in single])
    assert (found.sum_of_squares <= sums * (1 + 1e-6) + 1e-15).all()
    same = found.sum_of_squares >= sums * (1 - 1e-4)
    assert same.mean() > 0.9
    for name in ("ec50", "slope", "top", "bottom"):
        expected = np.array([getattr(fit, name) for fit in single])[same]
        np.testing.assert_allclose(getattr(found, name)[same], expected, rtol=2e-2, atol=1e-3)


def test_a_curve_gets_the_half_maximal_dose_of_the_measured_curves_function() -> None:
    values = np.array([[0.05, 0.11, 0.3, 0.62, 0.93, 1.02]])
    found = fit_screened_doses(SIX[None], along(values)).to_dicts()[0]
    single = fit_log_logistic(SIX, values[0])
    assert (found["state"], single.state) == ("identified", "identified")
    assert found["ec50"] == pytest.approx(single.ec50, rel=1e-5)
    assert found["slope"] == pytest.approx(single.slope, rel=1e-4)
    assert found["top"] == pytest.approx(single.top, rel=1e-4)


SHAPES = {
    "identified": [0.05, 0.11, 0.3, 0.62, 0.93, 1.02],
    "open": [0.0, 0.0, 0.0, 0.0, 0.02, 0.60],
    "above": [0.0, 0.001, 0.01, 0.03, 0.1, 0.3],
    "below": [0.8, 0.95, 0.99, 1.0, 1.0, 1.0],
    "flat": [0.0, 0.001, 0.002, 0.004, 0.008, 0.009],
    "not monotone": [0.1, 0.5, 1.0, 0.9, 0.5, 0.2],
    "other shape": [0.45, 0.5, 0.5, 0.5, 0.5, 1.0],
    "too few doses": [0.1, 0.5, 0.9],
}


def test_every_state_has_a_shape_below() -> None:
    assert set(SHAPES) == set(STATES)


@pytest.mark.parametrize("state", SHAPES)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_shape_is_said_in_words_and_has_no_number_unless_it_determines_one(state: str, sign: float) -> None:
    found = fitted([sign * value for value in SHAPES[state]])
    assert found["state"] == state
    for name in ("ec50", "slope", "top", "bottom"):
        assert (found[name] is not None) == (state == "identified"), name


def test_a_censored_curve_states_the_bound_and_nothing_else() -> None:
    below, above = fitted(SHAPES["below"]), fitted(SHAPES["above"])
    assert below["ec50_low"] is None and below["ec50_high"] == pytest.approx(SIX[0])
    assert above["ec50_high"] is None and above["ec50_low"] == pytest.approx(SIX[-1])
    opened = fitted(SHAPES["open"])
    assert opened["ec50_high"] is None and SIX[3] < opened["ec50_low"] < SIX[-1]
    turned = fitted(SHAPES["not monotone"])
    assert turned["ec50_low"] is None and turned["ec50_high"] is None


def test_words_say_the_number_the_bound_or_the_reason() -> None:
    table = pl.concat(
        [fit_screened_doses(SIX[None, : len(shape)], along(np.array([shape]))) for shape in SHAPES.values()]
    )
    words = dict(zip(SHAPES, table.select(words=half_maximal_words())["words"], strict=True))
    assert words["identified"].startswith("0.") and words["identified"].endswith("]")
    assert words["above"] == "> 10" and words["below"] == "< 0.04"
    assert words["open"].startswith("> ")
    assert words["flat"] == "flat" and words["too few doses"] == "too few doses"


def test_a_fitted_bottom_takes_one_dose_more() -> None:
    values = [0.3, 0.4, 0.7, 0.9, 0.98]
    assert fitted(values[:4], bottom=None)["state"] == "too few doses"
    assert fitted(values, bottom=None)["state"] != "too few doses"


def test_a_falling_curve_with_a_fitted_bottom_is_monotone() -> None:
    values = 1.0 - saturating(np.array([0.6]), np.array([1.2]), np.array([0.7]))
    found = fit_screened_doses(SIX[None], along(values), bottom=None).to_dicts()[0]
    assert found["state"] == "identified"
    assert found["ec50"] == pytest.approx(0.6, rel=1e-4)
    assert (found["bottom"], found["top"]) == pytest.approx((1.0, 0.3), rel=1e-4)
    assert fit_screened_doses(SIX[None], along(values))["state"].to_list() == ["not monotone"]


@given(st.floats(1e-3, 1e3), st.floats(1e-4, 1e4), st.sampled_from([-1.0, 1.0]))
@settings(max_examples=20, deadline=None)
def test_units_of_dose_and_response_change_nothing_but_themselves(
    factor: float, dilution: float, sign: float
) -> None:
    responses = along(np.array([SHAPES["identified"]]))
    plain = fit_screened_doses(SIX[None], responses, smallest_effect=0.0).to_dicts()[0]
    other = fit_screened_doses(SIX[None] * dilution, sign * factor * responses, smallest_effect=0.0)
    scaled = other.to_dicts()[0]
    assert scaled["ec50"] == pytest.approx(plain["ec50"] * dilution, rel=1e-5)
    assert scaled["top"] == pytest.approx(plain["top"] * factor, rel=1e-5)
    assert scaled["slope"] == pytest.approx(plain["slope"], rel=1e-5)


def test_missing_doses_and_the_order_of_doses_do_not_matter() -> None:
    responses = along(np.array([SHAPES["identified"]]))
    expected = fit_screened_doses(SIX[None, :5], responses[:, :5])
    shuffled = [3, 0, 4, 1, 5, 2]
    doses = np.where(SIX[5] == SIX, np.nan, SIX)[shuffled][None]
    spoilt = responses.copy()
    spoilt[:, 5] = np.nan
    found = fit_screened_doses(doses, spoilt[:, shuffled])
    assert found["n_doses"].to_list() == [5]
    for name, dtype in SCREENED_DOSES_SCHEMA.items():
        if dtype == pl.Float64:
            assert found[name].item() == pytest.approx(expected[name].item(), rel=1e-6), name


def test_a_curve_does_not_depend_on_the_curves_beside_it() -> None:
    random = np.random.default_rng(5)
    values = np.cumsum(random.uniform(0, 0.3, (50, 6)), axis=1)
    doses = SIX * 10 ** random.uniform(-1, 1, (50, 1)) * (1 + random.uniform(0, 0.2, (50, 6)))
    together = fit_log_logistic_curves(doses, values)
    for curve in range(0, 50, 7):
        alone = fit_log_logistic_curves(doses[[curve]], values[[curve]])
        assert together.sum_of_squares[curve] == pytest.approx(alone.sum_of_squares[0], rel=1e-6)
        assert together.ec50[curve] == pytest.approx(alone.ec50[0], rel=1e-4)


def test_the_projection_is_the_one_on_the_first_singular_vector() -> None:
    responses = np.random.default_rng(6).normal(size=(4, 6, N_GENES))
    curves = project_curves(repeated(SIX, 4), responses)
    for curve, response in enumerate(responses):
        expected = response @ main_direction(response)
        expected *= np.sign(expected[np.abs(expected).argmax()])
        np.testing.assert_allclose(curves.values[curve], expected, atol=1e-10)
        share = np.square(expected).sum() / np.square(response).sum()
        assert curves.direction_share[curve] == pytest.approx(share)
        np.testing.assert_allclose(curves.effect_sizes[curve], np.sqrt(np.square(response).mean(axis=1)))


def test_a_second_effect_at_high_doses_lowers_the_direction_share() -> None:
    responses = along(np.array([SHAPES["identified"]]))
    other = np.random.default_rng(7).normal(size=N_GENES)
    responses[0, -1] += other
    assert fit_screened_doses(SIX[None], responses)["direction_share"].item() < 0.95


def test_a_repeated_dose_is_no_further_dose() -> None:
    doses = np.array([[0.1, 0.1, 1.0, 10.0]])
    found = fit_screened_doses(doses, along(np.array([[0.2, 0.2, 0.6, 0.9]])))
    assert (found["n_doses"].item(), found["state"].item()) == (3, "too few doses")


def test_no_curve_is_an_empty_table() -> None:
    found = fit_screened_doses(np.empty((0, 6)), np.empty((0, 6, N_GENES)))
    assert found.schema == SCREENED_DOSES_SCHEMA and found.height == 0


def test_a_compound_that_does_nothing_is_flat_and_has_no_direction() -> None:
    found = fitted([0.0] * 6, smallest_effect=0.0)
    assert (found["state"], found["direction_share"], found["effect_size"]) == ("flat", None, 0.0)


@pytest.mark.parametrize(
    ("doses", "place", "message"),
    [
        (np.array([[0.0, 0.1, 1.0, 10.0]]), None, "leave controls out"),
        (np.array([[0.1, np.inf, 1.0, 10.0]]), None, "no place on a log scale"),
        (np.full((1, 4), np.nan), None, "has no dose"),
        (np.array([[0.1, 0.3, 1.0, 10.0]]), 2, "at dose 2"),
        (np.array([[0.1, 0.3, 1.0]]), None, "have shape"),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_its_place(
    doses: Floats, place: int | None, message: str
) -> None:
    responses = along(np.array([[0.1, 0.4, 0.8, 0.9]]))
    if place is not None:
        responses[0, place, 3] = np.nan
    with pytest.raises(SchemaError, match=message):
        fit_screened_doses(doses, responses)


def test_a_negative_threshold_is_refused() -> None:
    with pytest.raises(ConfigError, match="smallest_effect"):
        fitted(SHAPES["identified"], smallest_effect=-1.0)


def test_rounding_to_half_precision_on_disk_moves_a_stated_number_by_less_than_half_a_percent() -> None:
    random = np.random.default_rng(8)
    ec50, slope = 10 ** random.uniform(-1.4, 1.0, 300), random.uniform(0.4, 4.0, 300)
    stored = along(saturating(ec50, slope, random.uniform(0.2, 2.0, 300))).astype(np.float16)
    table = fit_screened_doses(repeated(SIX, 300), stored)
    known = (table["state"] == "identified").to_numpy()
    assert known.mean() > 0.9
    np.testing.assert_allclose(table["ec50"].to_numpy()[known], ec50[known], rtol=5e-3)
