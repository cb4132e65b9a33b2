"""The field's words: units, combinations and the identity of a condition."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pertcast_data.errors import UnitError, UnknownGene
from pertcast_data.vocabulary import (
    condition_id,
    condition_key,
    dose_in_micromolar,
    split_perturbation,
    time_in_hours,
)

NAMES = st.text("ABCDEFGH123-.", min_size=1, max_size=8)


@given(st.lists(NAMES, min_size=1, max_size=4), st.randoms())
def test_a_combination_is_the_same_in_any_order(names: list[str], shuffle: object) -> None:
    turned = list(names)
    shuffle.shuffle(turned)  # type: ignore[attr-defined]
    assert condition_id("A549", "trt_oe", "+".join(names), None, 24) == condition_id(
        "A549", "trt_oe", "+".join(turned), None, 24
    )


def test_the_plus_of_a_stereochemical_name_separates_nothing() -> None:
    assert split_perturbation("(+)-JQ1") == ("(+)-JQ1",)
    assert split_perturbation("(+)-JQ1+BRD-K1") == ("(+)-JQ1", "BRD-K1")


@pytest.mark.parametrize(
    ("value", "unit", "expected"), [(500, "nM", 0.5), (10, "uM", 10), (1, "µM", 1), (2, "MM", 2000)]
)
def test_doses_are_converted_to_micromolar(value: float, unit: str, expected: float) -> None:
    assert dose_in_micromolar(value, unit) == pytest.approx(expected)


def test_times_are_converted_to_hours() -> None:
    assert time_in_hours(2, "days") == 48
    assert time_in_hours(30, "min") == 0.5


def test_an_unknown_unit_is_refused_by_name() -> None:
    with pytest.raises(UnitError, match="furlong"):
        dose_in_micromolar(1, "furlong")
    with pytest.raises(UnitError, match="fortnight"):
        time_in_hours(1, "fortnight")


def test_a_missing_dose_is_empty_in_the_name_whether_none_or_nan() -> None:
    assert condition_id("K562", "trt_xpr", "TP53", None, 96) == "K562|trt_xpr|TP53||96"
    assert condition_id("K562", "trt_xpr", "TP53", math.nan, 96.0) == "K562|trt_xpr|TP53||96"


def test_a_conditions_key_is_the_same_in_every_process() -> None:
    program = "from pertcast_data.vocabulary import condition_key; print(condition_key('a|b'))"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(other.stdout) == condition_key("a|b") >= 0


def test_an_unknown_name_brings_the_nearest_known_ones() -> None:
    error = UnknownGene("TP35", ["TP53", "TP63", "MYC"], where="row 3")
    assert "TP53" in error.suggestions and "MYC" not in error.suggestions
    assert "row 3" in str(error) and "TP53" in str(error)


def test_an_unknown_name_keeps_its_message_and_suggestions_between_processes() -> None:
    error = UnknownGene("TP35", ["TP53"], where="row 3", remedy="See the list.")
    other = pickle.loads(pickle.dumps(error))
    assert (type(other), str(other), other.name) == (UnknownGene, str(error), "TP35")
    assert other.suggestions == ["TP53"]
