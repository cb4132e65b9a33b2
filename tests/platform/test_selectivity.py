"""Selectivity: its definitions on small screens, one formula each, and nothing that blocks could change."""

from __future__ import annotations

import tracemalloc

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast.analysis.selectivity import SELECTIVITY_SCHEMA, Selectivity
from pertcast_data.errors import SchemaError

CELLS = ("A375", "HA1E", "MCF7", "PC3", "VCAP")


def table_of(
    effect: list[float] | NDArray[np.float64],
    cell: list[int] | NDArray[np.int64],
    key: list[int] | NDArray[np.int64],
    profiles: NDArray[np.float64] | None = None,
    block_perturbations: int = 512,
) -> pl.DataFrame:
    keys = np.asarray(key, np.int64)
    values = np.ones((len(keys), 2)) if profiles is None else profiles

    def describe(rows: NDArray[np.int64]) -> pl.DataFrame:
        return pl.DataFrame(
            {
                "pert_id": [f"p{key}" for key in keys[rows]],
                "pert_type": ["trt_cp"] * len(rows),
                "pert_dose": keys[rows].astype(float),
                "pert_time": [24] * len(rows),
            }
        )

    found = Selectivity(np.asarray(effect), np.asarray(cell, np.int64), keys)
    blocks = found.blocks(
        lambda rows: values[rows].astype(np.float32),
        describe,
        CELLS,
        block_perturbations=block_perturbations,
    )
    return pl.concat(list(blocks))


def test_every_column_is_what_its_definition_says() -> None:
    profiles = np.array([[1, 0], [0, 2], [3, 3], [-1, 0], [4, 0]], float)
    row = table_of([1, 2, 8, 3, 4], [0, 1, 2, 3, 4], [6] * 5, profiles).row(0, named=True)
    assert row["pert_id"] == "p6" and row["pert_dose"] == 6.0
    assert row["n_contexts"] == 5
    assert (row["strongest_cell"], row["strongest_effect"]) == ("MCF7", 8.0)
    assert row["median_other_effect"] == 2.5
    assert row["excess_effect"] == 5.5
    assert row["effect_ratio"] == pytest.approx(8 / 2.5)
    assert row["robust_z"] == pytest.approx(5.5 / (1.4826 * 1.0))
    assert row["tau"] == pytest.approx((7 / 8 + 6 / 8 + 5 / 8 + 4 / 8) / 4)
    unit = profiles / np.linalg.norm(profiles, axis=1, keepdims=True)
    assert row["mean_cosine"] == pytest.approx((unit @ unit.T)[np.triu_indices(5, 1)].mean(), abs=1e-6)


def test_one_responding_line_has_tau_one_and_equal_lines_tau_zero() -> None:
    found = table_of([5, 0, 0, 3, 3, 3, 0, 0, 0], [0, 1, 2] * 3, [0, 0, 0, 1, 1, 1, 2, 2, 2])
    assert found["tau"].to_list() == [1.0, 0.0, None]
    assert found["effect_ratio"].to_list() == [None, 1.0, None]
    assert found["strongest_cell"].to_list() == ["A375"] * 3


def test_a_robust_z_needs_three_other_lines_that_differ() -> None:
    few = table_of([1, 2, 9], [0, 1, 2], [0, 0, 0])
    equal = table_of([2, 2, 2, 9], [0, 1, 2, 3], [0] * 4)
    assert few["robust_z"].to_list() == equal["robust_z"].to_list() == [None]


def test_ranks_fall_with_the_excess_and_ties_are_in_the_order_of_keys() -> None:
    found = table_of([1, 2, 1, 9, 3, 4, 5, 5], [0, 1] * 4, [3, 3, 5, 5, 7, 7, 9, 9], block_perturbations=2)
    assert found["pert_id"].to_list() == ["p3", "p5", "p7", "p9"]
    assert found["rank"].to_list() == [2, 1, 3, 4]


def test_a_line_that_responds_strongly_to_everything_is_no_relative_finding() -> None:
    """MCF7 doubles every effect; only the last perturbation is selective, and for HA1E."""
    effect = [1, 1, 2, 3, 3, 6, 2, 2, 4, 2, 3.5, 4]
    found = table_of(effect, [0, 1, 2] * 4, np.repeat(np.arange(4), 3))
    assert set(found["strongest_cell"]) == {"MCF7"}
    assert found["tau"].min() >= 0.2
    assert found["relative_tau"].arg_max() == 3
    assert found["relative_strongest_cell"][3] == "HA1E"


def test_a_line_without_a_typical_effect_leaves_the_relative_index_empty() -> None:
    found = table_of([0, 1, 0, 2, 5, 3], [0, 1] * 3, [0, 0, 1, 1, 2, 2])
    assert found["relative_tau"].null_count() == found["relative_strongest_cell"].null_count() == 3
    assert found["tau"].to_list() == [1.0, 1.0, pytest.approx(0.4)]


def test_a_response_that_ignores_the_cell_line_shows_no_selectivity() -> None:
    profiles = np.tile(np.random.default_rng(0).standard_normal((6, 20)), (3, 1))
    effect = np.sqrt(np.square(profiles).mean(axis=1))
    found = table_of(effect, np.repeat([0, 1, 2], 6), np.tile(np.arange(6), 3), profiles)
    assert found["tau"].to_numpy() == pytest.approx(np.zeros(6), abs=1e-12)
    assert found["mean_cosine"].to_numpy() == pytest.approx(np.ones(6), abs=1e-6)
    assert found["excess_effect"].to_numpy() == pytest.approx(np.zeros(6), abs=1e-12)


def test_profiles_of_zeros_have_no_direction_to_agree() -> None:
    profiles = np.array([[1, 0], [0, 0], [0, 1], [1, 0], [0, 0]], float)
    found = table_of([1, 0, 1, 1, 0], [0, 1, 2, 0, 1], [0, 0, 0, 1, 1], profiles)
    assert found["mean_cosine"].to_list() == [pytest.approx(0.0), None]


@pytest.mark.parametrize("block_perturbations", [1, 7, 1000])
def test_blocks_change_nothing_and_rows_are_read_in_runs(block_perturbations: int) -> None:
    rng = np.random.default_rng(2)
    cell, key = np.repeat(np.arange(4), 30), np.tile(np.arange(30), 4)
    kept = rng.random(120) < 0.8
    profiles, effect = rng.standard_normal((120, 9))[kept], rng.random(120)[kept]
    whole = table_of(effect, cell[kept], key[kept], profiles)
    assert table_of(effect, cell[kept], key[kept], profiles, block_perturbations).equals(whole)

    gaps: list[int] = []

    def read(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        gaps.extend(np.diff(rows).tolist())
        return profiles[rows].astype(np.float32)

    found = Selectivity(effect, cell[kept], key[kept])
    named = pl.DataFrame({"pert_id": "p", "pert_type": "t", "pert_dose": 1.0, "pert_time": 1.0})
    for _ in found.blocks(read, lambda rows: pl.concat([named] * len(rows)), CELLS):
        pass
    assert set(gaps) <= {1, 2}, "only what stands in one cell line alone is skipped"


def test_the_order_of_the_rows_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    cell, key, effect = np.repeat(np.arange(3), 8), np.tile(np.arange(8), 3), rng.random(24)
    profiles = rng.standard_normal((24, 5))
    mixed = rng.permutation(24)
    whole = table_of(effect, cell, key, profiles)
    assert table_of(effect[mixed], cell[mixed], key[mixed], profiles[mixed]).equals(whole)


def test_a_perturbation_in_one_line_alone_is_left_out() -> None:
    found = table_of([1, 2, 3], [0, 1, 0], [0, 0, 1])
    assert found["pert_id"].to_list() == ["p0"]


@pytest.mark.parametrize("n", [0, 3])
def test_without_two_lines_the_table_is_empty_and_says_why(n: int) -> None:
    found = Selectivity(np.ones(n), np.zeros(n, np.int64), np.arange(n))
    assert found.n_perturbations == 0
    assert "two cell lines" in str(found.reason)
    table = table_of(np.ones(n), np.zeros(n, np.int64), np.arange(n))
    assert table.height == 0 and dict(table.schema) == SELECTIVITY_SCHEMA
    assert Selectivity(np.ones(2), np.arange(2), np.zeros(2, np.int64)).reason is None


@pytest.mark.parametrize(
    ("effect", "cell", "key", "message"),
    [
        ([1, -2, 1], [0, 1, 2], [0, 0, 0], "Row 1 has effect -2"),
        ([1, 2, np.nan], [0, 1, 2], [0, 0, 0], "Row 2 has effect nan"),
        ([1, 2, 3], [0, 1, 1], [4, 4, 4], "Rows 1 and 2 are the same"),
        ([1, 2], [0, 1, 2], [0, 0, 0], "2 effects, 3 cell lines"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_row(
    effect: list[float], cell: list[int], key: list[int], message: str
) -> None:
    with pytest.raises(SchemaError, match=message):
        Selectivity(np.array(effect), np.array(cell), np.array(key))


def test_a_profile_that_is_not_finite_is_named() -> None:
    with pytest.raises(SchemaError, match="Profile 1 "):
        table_of([1, 2], [0, 1], [0, 0], np.array([[1, 0], [np.nan, 0]]))


def test_memory_of_profiles_does_not_grow_with_the_screen() -> None:
    template = np.random.default_rng(0).standard_normal((257, 200)).astype(np.float32)

    def peak(n: int) -> int:
        found = Selectivity(np.ones(3 * n), np.repeat(np.arange(3), n), np.tile(np.arange(n), 3))
        named = pl.DataFrame({"pert_id": "p", "pert_type": "t", "pert_dose": 1.0, "pert_time": 1.0})
        blocks = found.blocks(
            lambda rows: template[rows % 257], lambda rows: pl.concat([named] * len(rows)), CELLS
        )
        tracemalloc.start()
        for _ in blocks:
            pass
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest - 64 * n

    assert peak(10_000) < 1.1 * peak(1_000)
