"""Each profile stands against the nearest controls there are, and never against another context's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pertcast_data.errors import ConfigError, ControlsMissing
from pertcast_data.loading import ControlPairing, pair_controls
from pertcast_data.store import ExpressionStore, create_store
from pertcast_data.store.conditions import observation_table
from pertcast_data.store.info import StoreInfo
from pertcast_data.store.manifest import Manifest
from pertcast_data.store.readers import MemoryDenseReader

Row = tuple[str | None, str, str | None, float | None]
"""Cell line, code, plate, time."""


def table(rows: list[Row]) -> pl.DataFrame:
    names = {"cell_iname": pl.String, "pert_type": pl.String, "batch_id": pl.String, "pert_time": pl.Float64}
    return pl.DataFrame(rows, schema=names, orient="row").with_columns(
        pert_id=pl.when(pl.col("pert_type") == "trt_cp").then(pl.lit("drug")).otherwise(pl.lit("DMSO"))
    )


def in_memory_store(rows: list[Row], measure: Any = "expression") -> ExpressionStore:
    """A store as it is opened, without files: pairing looks only at its tables."""
    info = StoreInfo(
        measure=measure,
        normalisation="log2_intensity",
        layout="dense",
        codec="none",
        n_rows=len(rows),
        n_genes=1,
        n_values=len(rows),
        chunk_rows=64,
        shard_rows=64,
        data_hash="",
        seed=0,
    )
    var = pl.DataFrame({"gene_symbol": ["g"]})
    return ExpressionStore(Path("memory"), info, Manifest((), (), {}), observation_table(table(rows)), var)


def controls_of(pairing: ControlPairing, row: int) -> list[int]:
    return pairing.members(int(pairing.group_of_row[row])).tolist()


def test_controls_of_the_same_plate_come_before_those_of_the_context() -> None:
    store = in_memory_store(
        [
            ("A", "ctl_vehicle", "p1", 24.0),
            ("A", "ctl_vehicle", "p2", 24.0),
            ("A", "ctl_vehicle", "p2", 6.0),
            ("B", "ctl_vehicle", "p2", 24.0),
            ("A", "trt_cp", "p2", 24.0),
            ("A", "trt_cp", "p3", 24.0),
            ("A", "trt_cp", "p3", 96.0),
            ("A", "trt_cp", None, 6.0),
            ("C", "trt_cp", "p2", 24.0),
        ]
    )
    pairing = pair_controls(store)
    assert [controls_of(pairing, row) for row in (4, 5, 6, 7)] == [[1], [0, 1], [0, 1, 2], [2]]
    names = [pairing.level_names[level] if level >= 0 else None for level in pairing.level_of_row[4:]]
    assert names == ["batch", "context_time", "context", "context_time", None]
    assert pairing.group_of_row[8] == -1
    assert pairing.level_counts() == {"batch": 1, "context_time": 2, "context": 1, "none": 1}
    assert (pairing.group_of_row.dtype, pairing.level_of_row.dtype) == (np.int32, np.int8)


def test_an_unknown_time_does_not_keep_controls_of_the_plate_away() -> None:
    untimed_controls = pair_controls(
        in_memory_store(
            [("A", "ctl_vehicle", "p", None), ("A", "ctl_vehicle", "q", 24.0), ("A", "trt_cp", "p", 24.0)]
        )
    )
    assert controls_of(untimed_controls, 2) == [0]
    untimed_treated = pair_controls(
        in_memory_store(
            [("A", "ctl_vehicle", "p", 6.0), ("A", "ctl_vehicle", "q", 6.0), ("A", "trt_cp", "p", None)]
        )
    )
    assert controls_of(untimed_treated, 2) == [0]
    assert untimed_treated.level_of_row[2] == untimed_controls.level_of_row[2] == 0


def test_controls_are_paired_with_a_group_they_belong_to() -> None:
    rows: list[Row] = [
        ("A", "ctl_vehicle", "p1", 6.0),
        ("A", "ctl_vehicle", None, None),
        ("A", "trt_cp", "p1", 6.0),
    ]
    pairing = pair_controls(in_memory_store(rows))
    for row in (0, 1):
        assert row in controls_of(pairing, row)


def test_a_context_without_controls_is_named() -> None:
    store = in_memory_store(
        [("A", "ctl_vehicle", "p", 6.0), ("A", "trt_cp", "p", 6.0), ("LONELY", "trt_cp", "p", 6.0)]
    )
    pairing = pair_controls(store)
    with pytest.raises(ControlsMissing, match=r"1 treated.*LONELY"):
        pairing.require()
    pairing.require(np.array([0, 1]))


def test_only_the_permitted_controls_are_used() -> None:
    rows: list[Row] = [
        ("A", "ctl_vehicle", "p", 6.0),
        ("A", "ctl_vehicle", "q", 6.0),
        ("A", "trt_cp", "p", 6.0),
    ]
    store = in_memory_store(rows)
    assert controls_of(pair_controls(store), 2) == [0]
    restricted = pair_controls(store, np.array([1]))
    assert controls_of(restricted, 2) == [1]
    assert restricted.level_of_row[2] == 1
    with pytest.raises(ConfigError, match="Row 2"):
        pair_controls(store, np.array([1, 2]))


def test_responses_are_not_paired() -> None:
    with pytest.raises(ConfigError, match="responses"):
        pair_controls(in_memory_store([("A", "ctl_vehicle", "p", 6.0)], measure="response"))


VALUES = st.tuples(
    st.sampled_from(["A", "B", None]),
    st.sampled_from(["trt_cp", "ctl_vehicle"]),
    st.sampled_from(["p", "q", None]),
    st.sampled_from([6.0, 24.0, None]),
)


def expected_controls(rows: list[Row], row: int) -> tuple[list[int], int]:
    """The rule, spelt out for one row."""
    cell, _, batch, time = rows[row]
    controls = [
        other for other, (_, code, _, _) in enumerate(rows) if code == "ctl_vehicle" and cell is not None
    ]
    same_cell = [other for other in controls if rows[other][0] == cell]
    plate = [other for other in same_cell if batch is not None and rows[other][2] == batch]
    same_time = [other for other in same_cell if time is not None and rows[other][3] == time]
    exact = [other for other in plate if other in same_time]
    untimed = [other for other in plate if rows[other][3] is None]
    any_time = plate if time is None else []
    for found, level in ((exact, 0), (untimed, 0), (any_time, 0), (same_time, 1), (same_cell, 2)):
        if found:
            return found, level
    return [], -1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(VALUES, min_size=1, max_size=14))
def test_pairing_and_means_follow_the_rule_for_every_row(rows: list[Row]) -> None:
    pairing = pair_controls(in_memory_store(rows))
    profiles = np.random.default_rng(len(rows)).normal(size=(len(rows), 4)).astype(np.float32)
    reader = MemoryDenseReader(profiles, "log2_intensity")
    means = pairing.means(reader) if pairing.n_groups else np.empty((0, 4))
    assert len(means) == pairing.n_groups
    for row in range(len(rows)):
        expected, level = expected_controls(rows, row)
        assert pairing.level_of_row[row] == level
        group = int(pairing.group_of_row[row])
        assert (group < 0) == (not expected)
        if expected:
            assert pairing.members(group).tolist() == expected
            np.testing.assert_allclose(means[group], profiles[expected].mean(axis=0), rtol=1e-5, atol=1e-6)


def test_means_read_each_control_once_and_in_pieces(tmp_path: Path) -> None:
    n_rows = 5_000
    rng = np.random.default_rng(0)
    obs = pl.DataFrame(
        {
            "cell_iname": ["A"] * n_rows,
            "pert_type": np.where(np.arange(n_rows) % 5 == 0, "trt_cp", "ctl_vehicle"),
            "pert_id": ["x"] * n_rows,
            "batch_id": rng.choice(["p1", "p2", "p3"], n_rows),
            "pert_time": [6.0] * n_rows,
        }
    )
    profiles = rng.normal(size=(n_rows, 3)).astype(np.float32)
    store = create_store(
        tmp_path / "store",
        obs=obs,
        var=pl.DataFrame({"gene_symbol": ["a", "b", "c"]}),
        batches=[profiles],
        measure="expression",
        normalisation="log2_intensity",
    )
    pairing = pair_controls(store)
    read: list[int] = []

    class CountingReader(MemoryDenseReader):
        def dense(self, rows: np.ndarray) -> np.ndarray:
            read.extend(rows.tolist())
            return super().dense(rows)

    values = store.reader("memory").dense(np.arange(n_rows))
    means = pairing.means(CountingReader(values, "log2_intensity"))
    assert sorted(read) == np.flatnonzero(store.is_control).tolist()
    for plate in ("p1", "p2", "p3"):
        members = store.obs["is_control"].to_numpy() & (store.obs["batch_id"] == plate).to_numpy()
        group = pairing.group_of_row[np.flatnonzero(members)[0]]
        np.testing.assert_allclose(means[group], values[members].mean(axis=0), atol=1e-5)
