"""Curves of a screen on disk: interleaved, incomplete, in blocks of any size, each row read once."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast.analysis.screened_doses import (
    SCREENED_DOSES_SCHEMA,
    fit_screened_doses,
    stream_screened_doses,
)
from pertcast_data.errors import ConfigError, SchemaError
from polars.testing import assert_frame_equal

N_COMPOUNDS, N_TIMES, N_GENES = 15, 2, 5
DOSES = np.geomspace(0.1, 10.0, 5)

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def screen() -> tuple[Integers, Floats, Floats]:
    """Codes, doses and responses, sorted by compound, dose, time: curves of two times interleave."""
    random = np.random.default_rng(0)
    compound, dose, time = (
        axis.ravel() for axis in np.indices((N_COMPOUNDS, len(DOSES), N_TIMES), dtype=np.int64)
    )
    curve = 100 - (compound * N_TIMES + time)
    ec50 = 10 ** random.uniform(-1, 1, 101)
    values = 1 / (1 + ec50[curve] / DOSES[dose])
    directions = random.normal(size=(101, N_GENES))
    return curve, DOSES[dose], values[:, None] * directions[curve]


class Reading:
    """Reads rows of an array, and remembers which."""

    def __init__(self, responses: Floats) -> None:
        self.responses = responses
        self.asked: list[Integers] = []

    def __call__(self, rows: Integers) -> NDArray[np.float16]:
        self.asked.append(rows)
        return self.responses[rows].astype(np.float16)


@pytest.mark.parametrize("block_rows", [1, 17, 30, 10_000])
def test_interleaved_curves_are_the_same_in_blocks_of_any_size(block_rows: int) -> None:
    curve, doses, responses = screen()
    found = pl.concat(stream_screened_doses(curve, doses, Reading(responses), block_rows=block_rows))
    codes = [100 - number for number in range(N_COMPOUNDS * N_TIMES)]
    assert found["curve"].to_list() == codes
    own = np.stack([np.flatnonzero(curve == code) for code in codes])
    assert found["first_row"].to_list() == own[:, 0].tolist()
    expected = fit_screened_doses(doses[own], responses[own].astype(np.float16))
    assert_frame_equal(found.select(SCREENED_DOSES_SCHEMA.keys()), expected, rel_tol=1e-5, abs_tol=1e-7)


def test_each_row_is_read_once_in_rising_order_and_blocks_are_bounded() -> None:
    curve, doses, responses = screen()
    reading = Reading(responses)
    list(stream_screened_doses(curve, doses, reading, block_rows=20))
    assert all((np.diff(rows) > 0).all() and len(rows) <= 20 for rows in reading.asked)
    assert sorted(np.concatenate(reading.asked)) == list(range(len(curve)))


def test_rows_of_no_curve_and_rows_without_dose_are_left_out_and_never_read() -> None:
    curve, doses, responses = screen()
    curve, doses = curve.copy(), doses.copy()
    controls, undosed = np.flatnonzero(curve == 97), np.flatnonzero(curve == 95)[:2]
    curve[controls], doses[controls], doses[undosed] = -1, 0.0, np.nan
    reading = Reading(responses)
    found = pl.concat(stream_screened_doses(curve, doses, reading))
    assert 97 not in found["curve"]
    assert found.filter(pl.col("curve") == 95)["n_doses"].item() == len(DOSES) - 2
    assert found.filter(pl.col("curve") == 95)["state"].item() == "too few doses"
    assert not np.isin(np.concatenate(reading.asked), np.concatenate([controls, undosed])).any()


def test_a_screen_without_doses_yields_nothing() -> None:
    none = np.array([], dtype=np.int64)
    assert list(stream_screened_doses(none, none.astype(float), Reading(np.empty((0, 3))))) == []


def test_a_dose_of_zero_is_refused_with_its_row() -> None:
    reading = Reading(np.ones((3, 2)))
    with pytest.raises(SchemaError, match="Row 2 has a dose of 0"):
        list(stream_screened_doses(np.zeros(3, dtype=int), np.array([1.0, 2.0, 0.0]), reading))


def test_a_reader_that_returns_too_few_rows_is_refused() -> None:
    curve, doses, responses = screen()
    with pytest.raises(SchemaError, match="rows were asked for"):
        list(stream_screened_doses(curve, doses, lambda rows: responses[rows[1:]]))


def test_a_block_without_rows_is_refused() -> None:
    curve, doses, responses = screen()
    with pytest.raises(ConfigError, match="block_rows=0"):
        list(stream_screened_doses(curve, doses, Reading(responses), block_rows=0))
