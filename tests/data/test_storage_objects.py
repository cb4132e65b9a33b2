"""Objects, locations, source files and the cache: whole or not at all, and a word for every failure."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import storage_places as places
from pertcast_data.errors import ConfigError, CorruptStore, ObjectMissing, StorageError
from pertcast_data.storage import Cache, ObjectFolder, is_remote, local_copy, parse_location

server, bucket = places.server, places.bucket

MEGABYTE = 1 << 20


@pytest.mark.parametrize(
    "text", ["s3://b/k/l", "s3:/b/k/l", Path("s3://b/k/l"), "S3://b/k/l/", "s3://b//k/l"]
)
def test_a_location_reads_the_same_however_a_path_has_bent_it(text: Any) -> None:
    place = parse_location(text)
    assert is_remote(text)
    assert (place.scheme, place.bucket, place.key) == ("s3", "b", "k/l")
    assert (place.url, place.name, place.parent.url) == ("s3://b/k/l", "l", "s3://b/k")


@pytest.mark.parametrize("text", ["stores/atlas", "/s3/b", "s3/b", Path("a:b"), "data:/here", "C:/atlas"])
def test_a_local_path_is_no_location(text: Any) -> None:
    assert not is_remote(text)
    assert local_copy(text) == Path(text)
    with pytest.raises(ConfigError, match="not a location in an object store"):
        parse_location(text)


@pytest.mark.parametrize("text", ["http://h/a", "file:///a", "az://c/a", "az:/c/a", "what://c/a"])
def test_an_unknown_scheme_is_refused_with_those_that_are_known(text: str) -> None:
    assert is_remote(text)
    with pytest.raises(ConfigError, match=r"is not supported.*s3://BUCKET/KEY and gs://BUCKET/KEY"):
        parse_location(text)


@pytest.mark.parametrize(
    ("text", "what"), [("s3://", "no bucket"), ("s3:///k", "no bucket"), ("gs://b/../k", r"'\.\.'")]
)
def test_a_location_that_names_no_place_is_refused(text: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        parse_location(text)


def test_objects_are_put_listed_measured_and_deleted(bucket: str) -> None:
    folder = ObjectFolder(f"{bucket}/some/place")
    folder.put("X/one", b"first", checksum=0xAB)
    folder.put("X2/two", b"second")
    assert folder.get("X/one") == b"first"
    assert (folder.stated_checksum("X/one"), folder.stated_checksum("X2/two")) == (0xAB, None)
    assert [(entry.name, entry.size) for entry in folder.list()] == [("X/one", 5), ("X2/two", 6)]
    assert [entry.name for entry in folder.list("X")] == ["X/one"]
    assert (folder.exists("X/one"), folder.exists("X"), folder.size("X2/two")) == (True, False, 6)
    assert folder.delete("X") == 1
    assert [entry.name for entry in folder.list()] == ["X2/two"]
    with pytest.raises(StorageError, match="Name what is to go"):
        folder.delete("")


def test_a_list_longer_than_a_page_is_complete(bucket: str) -> None:
    folder = ObjectFolder(bucket)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: folder.put(f"n/{number:03}", b"x"), range(230)))
    assert [entry.name for entry in folder.list("n")] == [f"n/{number:03}" for number in range(230)]


def test_a_large_file_goes_in_parts_and_keeps_its_checksum(bucket: str, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(os.urandom(33 * MEGABYTE))
    folder = ObjectFolder(f"{bucket}/x")
    folder.put("large", tmp_path / "large", checksum=77)
    assert "-" in folder.list()[0].etag, "one part only"
    folder.get_to("large", tmp_path / "back" / "large")
    assert (tmp_path / "back" / "large").read_bytes() == (tmp_path / "large").read_bytes()
    assert folder.stated_checksum("large") == 77


def test_of_many_writers_one_creates_the_object(bucket: str) -> None:
    folder = ObjectFolder(bucket)
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda number: folder.put_if_absent("m", b"%d" % number), range(8)))
    assert created.count(True) == 1
    assert folder.get("m") == b"%d" % created.index(True)


def test_a_file_that_fails_its_check_leaves_nothing(bucket: str, tmp_path: Path) -> None:
    folder = ObjectFolder(bucket)
    folder.put("a", b"content")

    def refuse(file: Path) -> None:
        raise CorruptStore(file.read_bytes().decode())

    with pytest.raises(CorruptStore, match="content"):
        folder.get_to("a", tmp_path / "out" / "a", check=refuse)
    assert list((tmp_path / "out").iterdir()) == []


def test_what_is_missing_is_told_apart(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(ObjectMissing, match=r"Cannot read s3://bucket-.*/a/none: there is no such object"):
        ObjectFolder(f"{bucket}/a").get("none")
    with pytest.raises(StorageError, match=r"s3://no-such-bucket/a.*bucket does not exist"):
        ObjectFolder("s3://no-such-bucket/a").get("none")
    with pytest.raises(StorageError, match=r"Cannot write.*bucket does not exist"):
        ObjectFolder("s3://no-such-bucket/a").put("x", b"1")
    with pytest.raises(StorageError, match="There is no file"):
        ObjectFolder(bucket).put("x", tmp_path / "none")
    with pytest.raises(ObjectMissing, match="neither an object nor a folder"):
        local_copy(f"{bucket}/none.h5ad")


@pytest.mark.parametrize("server", ["small"], indirect=True)
def test_wrong_credentials_are_named_with_the_variables_to_set(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong")
    with pytest.raises(StorageError, match=r"credentials are not accepted.*AWS_ACCESS_KEY_ID"):
        ObjectFolder(bucket).get("x")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(StorageError, match=r"no credentials were found.*AWS_ACCESS_KEY_ID"):
        ObjectFolder(bucket).get("x")


@pytest.mark.parametrize("server", ["small"], indirect=True)
def test_a_server_that_is_gone_is_given_up_in_bounded_time(bucket: str, server: Any) -> None:
    gone = places.object_server.ObjectServer()
    url = gone.url
    gone.server_close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", url)
        begun = time.monotonic()
        with pytest.raises(StorageError, match=r"Check the network, and AWS_ENDPOINT_URL"):
            ObjectFolder(bucket).get("x")
        assert time.monotonic() - begun < 20


def test_a_source_file_is_fetched_once_and_anew_when_it_changed(bucket: str) -> None:
    folder = ObjectFolder(f"{bucket}/in")
    folder.put("screen.csv", b"gene,value\n")
    first = local_copy(f"{bucket}/in/screen.csv")
    assert (first.name, first.read_bytes()) == ("screen.csv", b"gene,value\n")
    told: list[int] = []
    assert (
        local_copy(f"{bucket}/in/screen.csv", progress=lambda done, total, note="": told.append(done))
        == first
    )
    assert not told
    folder.put("screen.csv", b"gene,other\n")
    second = local_copy(f"{bucket}/in/screen.csv")
    assert (second.read_bytes(), first.read_bytes()) == (b"gene,other\n", b"gene,value\n")


class Stopped(RuntimeError):
    """Stands for an interruption."""


def test_an_interrupted_source_file_goes_on_where_it_ended(bucket: str, tmp_path: Path) -> None:
    content = os.urandom(20 * MEGABYTE)
    ObjectFolder(bucket).put("large.h5ad", content)

    def stop(done: int, total: int, note: str = "") -> None:
        raise Stopped

    with pytest.raises(Stopped):
        local_copy(f"{bucket}/large.h5ad", progress=stop)
    assert not list(Cache.from_environment().root.rglob("large.h5ad"))
    told: list[tuple[int, int]] = []
    found = local_copy(
        f"{bucket}/large.h5ad", progress=lambda done, total, note="": told.append((done, total))
    )
    assert found.read_bytes() == content
    assert 8 * MEGABYTE <= told[0][0] < len(content), "nothing of the first transfer was used"
    assert told[-1] == (len(content), len(content))


@pytest.mark.parametrize("server", ["small"], indirect=True)
def test_connections_that_break_in_the_middle_cost_no_byte(bucket: str, server: Any, tmp_path: Path) -> None:
    content = os.urandom(5 * MEGABYTE)
    ObjectFolder(bucket).put("a.gctx", content)
    server.cut_after = 2 * MEGABYTE
    try:
        assert local_copy(f"{bucket}/a.gctx").read_bytes() == content
    finally:
        server.cut_after = None


def test_a_folder_is_fetched_whole_and_an_interrupted_one_goes_on(bucket: str) -> None:
    files = {
        f"10x/{name}": os.urandom(1000) for name in ("matrix.mtx.gz", "genes.tsv.gz", "sub/barcodes.tsv")
    }
    folder = ObjectFolder(bucket)
    for name, content in files.items():
        folder.put(name, content)

    def stop(done: int, total: int, note: str = "") -> None:
        if done > 1000:
            raise Stopped

    with pytest.raises(Stopped):
        local_copy(f"{bucket}/10x", progress=stop)
    assert not [path for path in Cache.from_environment().root.rglob("10x") if path.is_dir()]
    found = local_copy(f"{bucket}/10x/")
    assert found.name == "10x"
    there = {f"10x/{path.relative_to(found).as_posix()}": path for path in found.rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in there.items()} == files


def shard(cache: Cache, name: str, age: float) -> Path:
    path = cache.store_folder("s3://b/k", "version", "k") / "X" / "c" / name / "0"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 100)
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_the_least_recently_used_shards_go_first_and_those_in_use_stay(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit_bytes=350, shard_in_use_seconds=50)
    oldest, older, fresh = shard(cache, "0", 300), shard(cache, "1", 200), shard(cache, "2", 10)
    cache.make_room(50)
    assert [path.exists() for path in (oldest, older, fresh)] == [True, True, True]
    assert cache.touch(oldest)
    cache.make_room(150)
    assert [path.exists() for path in (oldest, older, fresh)] == [True, False, True]
    cache.make_room(10_000)
    assert [path.exists() for path in (oldest, fresh)] == [True, True]
    assert not cache.touch(older)


@pytest.mark.parametrize("text", ["many", "0", "-1", "nan", "inf"])
def test_a_cache_limit_that_is_no_size_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERTCAST_CACHE_GB", text)
    with pytest.raises(ConfigError, match=f"PERTCAST_CACHE_GB is '{text}'"):
        Cache.from_environment()


def test_a_cache_that_cannot_be_written_is_a_storage_error(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ObjectFolder(bucket).put("a.csv", b"x")
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("PERTCAST_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(StorageError, match="PERTCAST_CACHE"):
        local_copy(f"{bucket}/a.csv")
