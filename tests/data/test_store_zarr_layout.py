"""The helpers that screens write through: preallocated, a shard a unit, trusted by the manifest."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anndata
import numpy as np
import polars as pl
import pytest
import zarr
from pertcast_data.errors import FormatError, SchemaError
from pertcast_data.store import (
    ExpressionStore,
    ShardRecord,
    commit_manifest,
    create_dense_group,
    read_manifest,
    write_dense_shard,
    write_obs,
)
from pertcast_data.store.manifest import record_problem
from pertcast_data.store.zarr_layout import fitting_shard_rows

VAR = pl.DataFrame({"gene_symbol": ["A", "B", "C"]})


def values(shard: int, n_rows: int) -> np.ndarray:
    return np.random.default_rng(shard).normal(size=(n_rows, 3)).astype(np.float16)


def write_one(path: str, shard: int, n_rows: int) -> ShardRecord:
    return write_dense_shard(path, shard, values(shard, n_rows))


def test_rows_never_written_read_as_nan_and_written_ones_as_given(tmp_path: Path) -> None:
    path = tmp_path / "profiles.zarr"
    obs = pl.DataFrame({"sig_id": [f"s{row}" for row in range(300)], "pert_dose": [1.0, None, 3.0] * 100})
    create_dense_group(path, 300, 3, 16, 128, np.float16, VAR, obs)
    records = [write_one(str(path), 2, 44), write_one(str(path), 0, 128)]
    commit_manifest(path, records, {"screen": {"rows": 300}})
    read = anndata.read_zarr(path)
    assert read.X.dtype == np.float16
    np.testing.assert_array_equal(read.X[:128], values(0, 128))
    np.testing.assert_array_equal(read.X[256:], values(2, 44))
    assert np.isnan(read.X[128:256]).all()
    assert list(read.var_names) == ["A", "B", "C"] and list(read.obs_names[:2]) == ["s0", "s1"]
    manifest = read_manifest(path)
    assert [record.path for record in manifest.records] == ["X/c/0/0", "X/c/2/0"]
    assert [record.rows for record in manifest.records] == [128, 44]
    assert manifest.facts == {"screen": {"rows": 300}}
    assert "consolidated_metadata" in (path / "zarr.json").read_text()
    with pytest.raises(FormatError, match="not an expression store"):
        ExpressionStore.open(path)


def test_several_writers_fill_different_shards_without_losing_a_row(tmp_path: Path) -> None:
    path = tmp_path / "profiles.zarr"
    create_dense_group(path, 4 * 128, 3, 16, 128, np.float16, VAR, pl.DataFrame({"row": range(512)}))
    with ThreadPoolExecutor(max_workers=4) as pool:
        records = list(pool.map(lambda shard: write_one(str(path), shard, 128), range(4)))
    commit_manifest(path, records, {})
    read = zarr.open_array(str(path / "X"), mode="r")[:]
    np.testing.assert_array_equal(read, np.concatenate([values(shard, 128) for shard in range(4)]))


def test_the_manifest_grows_shard_by_shard_and_tells_which_to_skip(tmp_path: Path) -> None:
    path = tmp_path / "profiles.zarr"
    create_dense_group(path, 256, 3, 16, 128, np.float16, VAR, pl.DataFrame({"row": range(256)}))
    first = write_one(str(path), 0, 128)
    commit_manifest(path, [first], {})
    second = write_one(str(path), 1, 128)
    assert read_manifest(path).records == (first,)
    commit_manifest(path, [*read_manifest(path).records, second], {}, consolidate=False)
    assert read_manifest(path).records == (first, second)
    assert [record_problem(path, record, checksum=True) for record in (first, second)] == [None, None]
    shard = path / second.path
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    assert "checksum" in str(record_problem(path, second, checksum=True))


@pytest.mark.parametrize(("n_rows", "expected"), [(10, 64), (65, 128), (10**6, 16_384)])
def test_a_shard_is_no_larger_than_its_data_need(n_rows: int, expected: int) -> None:
    assert fitting_shard_rows(n_rows, 64, 16_384) == expected


def test_a_shard_of_wide_rows_stays_below_256_megabytes() -> None:
    rows = fitting_shard_rows(10**6, 64, 16_384, 4 * 26_945)
    assert rows % 64 == 0 and 2**27 < rows * 4 * 26_945 <= 2**28
    assert fitting_shard_rows(10**6, 64, 16_384, 2**28) == 64


def test_a_shard_of_the_wrong_shape_is_refused(tmp_path: Path) -> None:
    create_dense_group(tmp_path / "a", 300, 3, 16, 128, np.float16, VAR)
    for shard, n_rows in ((0, 127), (2, 128), (3, 16)):
        with pytest.raises(SchemaError, match="shape"):
            write_one(str(tmp_path / "a"), shard, n_rows)
    with pytest.raises(SchemaError, match="multiple"):
        create_dense_group(tmp_path / "b", 300, 3, 16, 100, np.float16, VAR)
    with pytest.raises(SchemaError, match="obs has 2 rows"):
        create_dense_group(tmp_path / "c", 300, 3, obs=pl.DataFrame({"row": [1, 2]}))


def test_observations_may_be_written_later_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a"
    create_dense_group(path, 2, 3, var=VAR)
    write_obs(path, pl.DataFrame({"sig_id": ["x", "y"], "only_before": [1, 2]}), None)
    write_obs(path, pl.DataFrame({"sig_id": ["x", None]}), None)
    write_dense_shard(path, 0, np.ones((2, 3)))
    commit_manifest(path, [], {})
    read = anndata.read_zarr(path)
    assert list(read.obs.columns) == ["sig_id"] and list(read.obs_names) == ["0", "1"]
    assert read.obs["sig_id"].isna().tolist() == [False, True]


def test_equal_data_have_equal_bytes_whatever_threads_code_their_chunks(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).poisson(2, (1024, 200)).astype(np.float32)
    written = set()
    for attempt in range(6):
        path = tmp_path / str(attempt)
        create_dense_group(path, 1024, 200, chunk_rows=8, shard_rows=1024, codec="archive")
        write_dense_shard(path, 0, counts)
        written.add((path / "X" / "c" / "0" / "0").read_bytes())
    assert len(written) == 1
