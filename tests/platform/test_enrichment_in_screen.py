"""A score beside the whole screen's: median and MAD of a set, also where scores do not fit in memory."""

from __future__ import annotations

import numpy as np
import pytest
from pertcast.analysis.enrichment import ScreenCentre, screen_z


def test_screen_z_has_median_zero_and_stands_out_for_a_planted_profile() -> None:
    rng = np.random.default_rng(1)
    scores = rng.normal(0.2, 0.05, (500, 3))
    scores[17, 1] = 0.9
    scores[:, 2] = 0.4
    found = screen_z(scores)
    assert np.median(found[:, 0]) == pytest.approx(0, abs=1e-12)
    assert found[:, 0].std() == pytest.approx(1, abs=0.15)
    assert found[:, 1].argmax() == 17
    assert np.isnan(found[:, 2]).all()
    assert np.isnan(screen_z(scores[:9])).all()


def test_a_centre_read_set_by_set_gives_the_z_of_the_whole_table_block_by_block() -> None:
    rng = np.random.default_rng(2)
    scores = rng.normal(0, 0.2, (101, 4))
    scores[3, 0] = np.nan
    scores[:, 1] = np.nan
    asked: list[int] = []

    def column(number: int) -> np.ndarray:
        asked.append(number)
        return scores[:, number]

    centre = ScreenCentre.of(column, 4)
    assert asked == [0, 1, 2, 3]
    blocks = [centre.z(scores[start : start + 13]) for start in range(0, len(scores), 13)]
    np.testing.assert_array_equal(np.concatenate(blocks), screen_z(scores))
    assert np.isnan(blocks[0][3, 0])
    assert np.isfinite(np.delete(np.concatenate(blocks)[:, [0, 2, 3]], 3, axis=0)).all()


def test_the_spread_is_the_standard_deviation_of_normal_scores() -> None:
    scores = np.random.default_rng(3).normal(0.3, 0.1, (20_000, 1))
    centre = ScreenCentre.of(lambda number: scores[:, number], 1)
    assert centre.median[0] == pytest.approx(0.3, abs=0.005)
    assert centre.spread[0] == pytest.approx(0.1, rel=0.03)
