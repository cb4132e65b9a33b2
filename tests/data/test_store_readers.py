"""Readers give the same rows whatever they hold and however they fetch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from pertcast_data.errors import ConfigError
from pertcast_data.loading import BatchPlan
from pertcast_data.store import ExpressionStore, create_store
from pertcast_data.store.densify import log1p
from pertcast_data.store.disk_readers import open_on_disk
from pertcast_data.store.fetch import fetch_slices

ROWS, GENES = 700, 31


def source(layout: str) -> Any:
    rng = np.random.default_rng(3)
    if layout == "dense":
        return rng.normal(size=(ROWS, GENES)).astype(np.float32)
    matrix = sparse.random(ROWS, GENES, 0.3, format="csr", random_state=rng)
    matrix.data = np.ceil(matrix.data * 900)
    matrix[5] = 0
    matrix.eliminate_zeros()
    return matrix


@pytest.fixture(scope="module", params=["dense", "csr"])
def store_and_values(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A store of several shards, and its raw values in store order."""
    matrix = source(request.param)
    rng = np.random.default_rng(0)
    obs = pl.DataFrame(
        {
            "cell_iname": rng.choice(["A", "B"], ROWS),
            "pert_type": rng.choice(["trt_cp", "ctl_vehicle"], ROWS),
            "pert_id": rng.choice(["x", "y"], ROWS),
            "source_row": np.arange(ROWS),
        }
    )
    store = create_store(
        tmp_path_factory.mktemp("readers") / "store",
        obs=obs,
        var=pl.DataFrame({"gene_symbol": [f"g{number}" for number in range(GENES)]}),
        batches=[matrix],
        measure="expression",
        normalisation="counts" if request.param == "csr" else "log2_intensity",
        codec="train",
        chunk_rows=16,
        shard_rows=128,
    )
    dense = matrix.toarray() if sparse.issparse(matrix) else matrix
    return store, dense[store.obs["source_row"].to_numpy()]


def normalised(store: ExpressionStore, raw: np.ndarray) -> np.ndarray:
    if store.normalisation != "counts":
        return raw
    totals = np.maximum(raw.sum(axis=1, keepdims=True, dtype=np.float64), 1e-30)
    return np.log1p(raw / totals * 1e4)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(st.integers(0, ROWS - 1), max_size=200), slots=st.integers(1, 12), repeats=st.integers(1, 2)
)
def test_disk_and_memory_give_the_source_rows_in_any_order(
    store_and_values: Any, rows: list[int], slots: int, repeats: int
) -> None:
    store, values = store_and_values
    wanted = np.array(rows, dtype=np.int64)
    reader = open_on_disk(store.path, store.info, cached_rows=slots * store.info.chunk_rows)
    for _ in range(repeats):
        raw = reader.raw(wanted)
        np.testing.assert_array_equal(raw.toarray() if sparse.issparse(raw) else raw, values[wanted])
        np.testing.assert_allclose(reader.dense(wanted), normalised(store, values[wanted]), rtol=2e-6)
    held = store.reader("memory")
    np.testing.assert_array_equal(held.dense(wanted), reader.dense(wanted))
    assert held.dense(wanted).dtype == np.float32 and held.dense(wanted).shape == (len(rows), GENES)


def test_a_cache_that_keeps_little_still_gives_every_row(store_and_values: Any) -> None:
    store, values = store_and_values
    rng = np.random.default_rng(1)
    reader = open_on_disk(store.path, store.info, cached_rows=3 * store.info.chunk_rows)
    for _ in range(20):
        wanted = rng.integers(0, ROWS, rng.integers(1, 300))
        raw = reader.raw(wanted)
        np.testing.assert_array_equal(raw.toarray() if sparse.issparse(raw) else raw, values[wanted])


@settings(max_examples=30, deadline=None)
@given(
    calls=st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, ROWS - 1), max_size=40)), max_size=12),
    slots=st.integers(1, 24),
)
def test_announcing_any_rows_in_any_order_never_changes_what_is_read(
    store_and_values: Any, calls: list[tuple[bool, list[int]]], slots: int
) -> None:
    store, values = store_and_values
    reader = open_on_disk(store.path, store.info, cached_rows=slots * store.info.chunk_rows)
    for is_announced, rows in calls:
        wanted = np.array(rows, dtype=np.int64)
        if is_announced:
            reader.announce(wanted)
            continue
        raw = reader.raw(wanted)
        np.testing.assert_array_equal(raw.toarray() if sparse.issparse(raw) else raw, values[wanted])


def test_a_failed_fetch_is_raised_and_what_is_read_afterwards_is_right(
    store_and_values: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, values = store_and_values
    reader = open_on_disk(store.path, store.info)
    reader.raw(np.arange(50))
    everything = np.arange(ROWS)

    def fail(requests: Any) -> None:
        raise OSError("the disk went away")

    for announced in (False, True):
        with monkeypatch.context() as patch:
            patch.setattr("pertcast_data.store.disk_readers.fetch_slices", fail)
            if announced:
                reader.announce(np.arange(100, 300))
            with pytest.raises(OSError, match="went away"):
                reader.raw(everything)
    raw = reader.raw(everything)
    np.testing.assert_array_equal(raw.toarray() if sparse.issparse(raw) else raw, values)


def test_a_plan_that_announces_its_buffers_reads_each_block_once_but_for_those_its_columns_cut(
    store_and_values: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, values = store_and_values
    fetched: list[int] = []

    def counting(requests: Any) -> None:
        fetched.extend(requests[0].starts.tolist())
        fetch_slices(requests)

    monkeypatch.setattr("pertcast_data.store.disk_readers.fetch_slices", counting)
    plan = BatchPlan(np.arange(ROWS), 30, block_rows=16, buffer_rows=160)
    reader = open_on_disk(store.path, store.info, cached_rows=3 * 160)
    for rows in plan.batches(0, announce=reader.announce):
        np.testing.assert_allclose(reader.dense(rows), normalised(store, values[rows]), rtol=2e-6)
    # Each of 2 columns begins and ends within a block, which it shares with the other.
    assert len(fetched) <= 3 + -(-ROWS // 16)
    assert len(fetched) >= len(set(fetched)) >= ROWS // 30 * 30 // 16


def test_auto_holds_what_fits_and_leaves_the_rest_on_disk(store_and_values: Any) -> None:
    store, _ = store_and_values
    assert store.reader("auto").is_in_memory
    assert not store.reader("auto", memory_limit_bytes=1_000).is_in_memory
    assert store.reader("memory", memory_limit_bytes=1_000).is_in_memory
    with pytest.raises(ConfigError, match="ram"):
        store.reader("ram")  # type: ignore[arg-type]


def test_a_row_outside_the_store_is_an_index_error_not_another_row(store_and_values: Any) -> None:
    store, _ = store_and_values
    for mode in ("memory", "disk"):
        reader = store.reader(mode)
        for row in (-1, ROWS):
            with pytest.raises(IndexError, match=str(ROWS)):
                reader.dense(np.array([0, row]))


def test_what_a_reader_returns_may_be_changed_without_changing_the_store(store_and_values: Any) -> None:
    store, values = store_and_values
    for mode in ("memory", "disk"):
        reader = store.reader(mode)
        for rows in (np.arange(20), np.arange(ROWS)):
            reader.dense(rows)[:] = -7
            raw = reader.raw(rows)
            raw[:] = 0 if store.info.layout == "dense" else raw * 0
            np.testing.assert_allclose(reader.dense(rows), normalised(store, values[rows]), rtol=2e-6)


def test_one_row_has_the_same_profile_alone_and_among_others(store_and_values: Any) -> None:
    store, _ = store_and_values
    reader = store.reader("memory")
    together = reader.dense(np.arange(ROWS))
    alone = np.concatenate([reader.dense(np.array([row])) for row in range(0, ROWS, 37)])
    np.testing.assert_allclose(alone, together[::37], rtol=1e-6)


def test_dense_counts_are_normalised_like_sparse_ones(tmp_path: Path) -> None:
    matrix = source("csr")
    options: dict[str, Any] = {
        "obs": pl.DataFrame({"pert_id": [f"{row:03}" for row in range(ROWS)]}),
        "var": pl.DataFrame({"gene_symbol": [f"g{number}" for number in range(GENES)]}),
        "batches": [matrix],
        "measure": "expression",
        "normalisation": "counts",
    }
    sparse_store = create_store(tmp_path / "csr", **options)
    dense_store = create_store(tmp_path / "dense", layout="dense", **options)
    rows = np.arange(ROWS)
    for mode in ("memory", "disk"):
        dense = dense_store.reader(mode).dense(rows)
        np.testing.assert_allclose(dense, sparse_store.reader(mode).dense(rows), rtol=1e-6)
        assert np.isfinite(dense).all()


@given(st.lists(st.floats(0, 1e5, width=32), min_size=1, max_size=50))
def test_the_fast_log1p_is_numpys_to_single_precision(values: list[float]) -> None:
    array = np.array(values, dtype=np.float32)
    np.testing.assert_allclose(log1p(array), np.log1p(array.astype(np.float64)), rtol=4e-7)
