"""A store in a bucket reads as the local one: shards come when wanted, whole and checked, never as zeros."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sparse
import storage_places as places
from pertcast_data.errors import CorruptStore, FormatError, StorageError
from pertcast_data.storage import ObjectFolder, cache
from pertcast_data.storage.publish import publish_store
from pertcast_data.store import ExpressionStore
from pertcast_data.store.mirror_readers import open_mirror_on_disk

server, bucket, fetches = places.server, places.bucket, places.fetches


PUBLISHED: dict[tuple[str, str], str] = {}


@pytest.fixture(scope="module", params=["dense", "csr"])
def local(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ExpressionStore:
    return places.make_store(tmp_path_factory.mktemp("local") / "atlas", request.param)


@pytest.fixture
def location(local: ExpressionStore, bucket: str) -> str:
    publish_store(local.path, f"{bucket}/some/atlas")
    return f"{bucket}/some/atlas"


@pytest.fixture
def published(local: ExpressionStore, server: Any, bucket: str) -> str:
    """Return the location of a store that no test changes; it is published once for each server."""
    key = (server.url, str(local.path))
    if key not in PUBLISHED:
        publish_store(local.path, f"{bucket}/some/atlas")
        PUBLISHED[key] = f"{bucket}/some/atlas"
    return PUBLISHED[key]


def everything(store: ExpressionStore, mode: Any = "memory") -> np.ndarray:
    raw = store.reader(mode).raw(np.arange(store.n_rows))
    return raw.toarray() if sparse.issparse(raw) else np.asarray(raw)


def last_shard(local: ExpressionStore) -> str:
    return places.shards_of([record.path for record in local._manifest.records])[-1]


def test_opening_fetches_tables_and_no_shard(
    local: ExpressionStore, published: str, fetches: list[str]
) -> None:
    store = ExpressionStore.open(published)
    assert not places.shards_of(fetches)
    assert store.obs.equals(local.obs) and store.var.equals(local.var)
    assert (store.info, store.genes) == (local.info, local.genes)
    assert (store.location, store.path.name) == (published, "atlas")
    assert local.location == str(local.path)
    fetches.clear()
    again = ExpressionStore.open(Path(published))
    assert (again.location, again.path, fetches) == (published, store.path, [])


@pytest.mark.parametrize("mode", ["disk", "memory", "auto"])
def test_every_reader_gives_the_rows_of_the_local_store(
    local: ExpressionStore, published: str, mode: Any
) -> None:
    rng = np.random.default_rng(1)
    reader, expected = ExpressionStore.open(published).reader(mode), local.reader("disk")
    for _ in range(5):
        rows = rng.integers(0, local.n_rows, 40)
        np.testing.assert_array_equal(reader.dense(rows), expected.dense(rows))


def test_reading_rows_fetches_the_shards_that_hold_them(
    local: ExpressionStore, published: str, fetches: list[str]
) -> None:
    reader = ExpressionStore.open(published).reader("disk")
    fetches.clear()
    first = reader.dense(np.arange(10))
    shards = places.shards_of(fetches)
    assert set(shards) == ({"X/c/0/0"} if local.info.layout == "dense" else {"X/data/c/0", "X/indices/c/0"})
    np.testing.assert_array_equal(first, local.reader("disk").dense(np.arange(10)))
    reader.dense(np.arange(5, 10))
    assert places.shards_of(fetches) == shards


def test_announced_rows_are_fetched_before_they_are_asked_for(
    local: ExpressionStore, published: str, fetches: list[str]
) -> None:
    reader = ExpressionStore.open(published).reader("disk")
    fetches.clear()
    reader.announce(np.arange(8))
    wanted = 1 if local.info.layout == "dense" else 2
    deadline = time.monotonic() + 20
    while len(fetches) < wanted and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(fetches) == wanted
    np.testing.assert_array_equal(reader.dense(np.arange(8)), local.reader("disk").dense(np.arange(8)))
    assert len(fetches) == wanted


def test_a_cache_smaller_than_the_store_reads_right(
    local: ExpressionStore, published: str, monkeypatch: pytest.MonkeyPatch, fetches: list[str]
) -> None:
    held = cache.Cache(Path(os.environ["PERTCAST_CACHE"]), limit_bytes=8_000, shard_in_use_seconds=0.3)
    monkeypatch.setattr(cache.Cache, "from_environment", lambda: held)
    store = ExpressionStore.open(published)
    reader = open_mirror_on_disk(store._mirror, store.info, cached_rows=32)
    expected = local.reader("memory")
    for start in (*range(0, 700, 100), *range(0, 700, 100)):
        rows = np.arange(start, min(start + 60, 700))
        np.testing.assert_array_equal(reader.dense(rows), expected.dense(rows))
        time.sleep(0.1)
    names = places.shards_of(fetches)
    assert len(names) > len(set(names)), "nothing was evicted"


def test_shards_that_vanish_while_they_are_read_are_fetched_again(
    local: ExpressionStore, published: str, monkeypatch: pytest.MonkeyPatch, fetches: list[str]
) -> None:
    mirrors = importlib.import_module("pertcast_data.store.mirror")
    read, calls = mirrors.fetch_slices, []

    def vanish(requests: Any) -> None:
        if not calls:
            for name in places.shards_of(fetches):
                (store.path / name).unlink()
        calls.append(1)
        read(requests)

    store = ExpressionStore.open(published)
    reader = store.reader("disk")
    fetches.clear()
    monkeypatch.setattr(mirrors, "fetch_slices", vanish)
    np.testing.assert_array_equal(reader.dense(np.arange(20)), local.reader("disk").dense(np.arange(20)))
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("mode", "damage"),
    [("disk", "changed"), ("disk", "missing"), ("memory", "changed"), ("memory", "shorter")],
)
def test_a_shard_changed_in_the_bucket_is_corrupt_and_never_read(
    local: ExpressionStore, location: str, mode: Any, damage: str
) -> None:
    folder, name = ObjectFolder(location), last_shard(local)
    content = folder.get(name)
    store = ExpressionStore.open(location)
    if damage == "missing":
        folder.delete(name)
    else:
        folder.put(name, bytes(len(content)) if damage == "changed" else content[:-8])
    with pytest.raises(CorruptStore, match=rf"{location}/{name}.*open it again, or publish it anew"):
        everything(store, mode)
    assert not (store.path / name).exists()
    folder.put(name, content)
    np.testing.assert_array_equal(everything(store, mode), everything(local))


@pytest.mark.parametrize("local", ["dense"], indirect=True)
def test_a_changed_table_is_corrupt_on_opening(local: ExpressionStore, location: str) -> None:
    name = next(record.path for record in local._manifest.tables if "/c/" in record.path)
    folder = ObjectFolder(location)
    folder.put(name, bytes(folder.size(name)))
    with pytest.raises(CorruptStore, match=f"{location}/{name}"):
        ExpressionStore.open(location)


@pytest.mark.parametrize("local", ["dense"], indirect=True)
def test_a_manifest_that_was_altered_is_corrupt(location: str) -> None:
    folder = ObjectFolder(location)
    folder.put("manifest.json", folder.get("manifest.json").replace(b'"seed": 0', b'"seed": 1'))
    with pytest.raises(CorruptStore, match=rf"{location}/manifest\.json cannot be trusted"):
        ExpressionStore.open(location)


def test_a_cached_file_that_was_damaged_is_fetched_again(local: ExpressionStore, published: str) -> None:
    store = ExpressionStore.open(published)
    everything(store)
    held = store.path / last_shard(local)
    held.write_bytes(bytes(held.stat().st_size))
    np.testing.assert_array_equal(everything(store), everything(local))


def test_a_store_published_anew_is_opened_anew(local: ExpressionStore, location: str, tmp_path: Path) -> None:
    first = ExpressionStore.open(location)
    other = places.make_store(tmp_path / "other", local.info.layout, seed=8)
    ObjectFolder(location).delete("manifest.json")
    publish_store(other.path, location)
    second = ExpressionStore.open(location)
    assert (first.data_hash, second.data_hash) == (local.data_hash, other.data_hash)
    np.testing.assert_array_equal(everything(second), everything(other))
    with pytest.raises(CorruptStore, match="open it again"):
        everything(first)


@pytest.mark.parametrize("local", ["dense"], indirect=True)
def test_what_is_declared_beside_the_store_is_known(location: str) -> None:
    declared = b"preprocessing: [{step: hvg, fitted_on: all}]\n"
    beside = ObjectFolder(location.rpartition("/")[0])
    beside.put("atlas.preprocessing.yaml", declared)
    assert [step.step for step in ExpressionStore.open(location).preprocessing] == ["hvg"]
    beside.delete("atlas.preprocessing.yaml")
    assert ExpressionStore.open(location).preprocessing == ()


READ_ALL = """
import sys, numpy as np
from pertcast_data.store import ExpressionStore
store = ExpressionStore.open(sys.argv[1])
values = store.reader("disk").dense(np.arange(store.n_rows))
sys.stdout.write(repr(float(values.astype(np.float64).sum())))
"""


@pytest.mark.parametrize("local", ["dense"], indirect=True)
def test_two_processes_that_fetch_at_once_both_read_right(local: ExpressionStore, published: str) -> None:
    command = [sys.executable, "-c", READ_ALL, published]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [reader.communicate(timeout=60)[0] for reader in readers]
    assert [reader.returncode for reader in readers] == [0, 0]
    expected = local.reader("memory").dense(np.arange(local.n_rows)).astype(np.float64).sum()
    assert outputs == [repr(float(expected))] * 2
    store = ExpressionStore.open(published)
    np.testing.assert_array_equal(everything(store), everything(local))
    assert not list(store.path.rglob("*.part"))


def test_where_no_store_lies_opening_says_so(bucket: str) -> None:
    with pytest.raises(FormatError, match=rf"{bucket}/none has no manifest\.json"):
        ExpressionStore.open(f"{bucket}/none")
    with pytest.raises(StorageError, match="the bucket does not exist"):
        ExpressionStore.open("s3://no-such-bucket/atlas")
