"""A store goes to a bucket whole: interrupted it cannot be opened, resumed it is equal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import storage_places as places
from pertcast_data.errors import ConfigError, CorruptStore, FormatError
from pertcast_data.storage import Cache, ObjectFolder
from pertcast_data.storage.publish import publish_file, publish_store
from pertcast_data.store import ExpressionStore, read_manifest, validate_store

server, bucket, uploads = places.server, places.bucket, places.uploads


class Stopped(RuntimeError):
    """Stands for an interruption."""


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("local") / "atlas"
    places.make_store(path)
    return path


def assert_equal_bytes(local: Path, location: str) -> None:
    folder = ObjectFolder(location)
    files = {path.relative_to(local).as_posix(): path for path in local.rglob("*") if path.is_file()}
    assert {entry.name for entry in folder.list()} == files.keys()
    assert all(folder.get(name) == path.read_bytes() for name, path in files.items())


def test_a_published_store_has_equal_bytes_and_is_valid(local: Path, bucket: str, uploads: list[str]) -> None:
    told: list[tuple[int, int]] = []
    publish_store(local, f"{bucket}/atlas", lambda done, total, note="": told.append((done, total)))
    assert_equal_bytes(local, f"{bucket}/atlas")
    shards = places.shards_of(uploads)
    assert set(uploads[: len(shards)]) == set(shards), "tables went before shards"
    assert told[-1] == (len(uploads), len(uploads))
    assert validate_store(f"{bucket}/atlas") == []
    assert not list(Cache.from_environment().root.rglob("X/c/*/0")), "validation kept shards"
    uploads.clear()
    publish_store(local, f"{bucket}/atlas")
    assert uploads == []


def test_an_interrupted_publication_cannot_be_opened_and_goes_on(
    local: Path, bucket: str, monkeypatch: pytest.MonkeyPatch, uploads: list[str]
) -> None:
    put = ObjectFolder.put

    def put_some(self: ObjectFolder, name: str, *rest: Any, **named: Any) -> None:
        if len(uploads) >= 4:
            raise Stopped
        put(self, name, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(ObjectFolder, "put", put_some)
        with pytest.raises(Stopped):
            publish_store(local, f"{bucket}/atlas")
    first = set(uploads)
    with pytest.raises(FormatError, match=r"no manifest\.json: no finished store"):
        ExpressionStore.open(f"{bucket}/atlas")
    uploads.clear()
    publish_store(local, f"{bucket}/atlas")
    assert first.isdisjoint(uploads)
    assert_equal_bytes(local, f"{bucket}/atlas")


PUBLISH_SLOWLY = """
import sys, time
from pathlib import Path
from pertcast_data.storage import ObjectFolder
from pertcast_data.storage import publish
put = ObjectFolder.put
def slowly(self, name, *rest, **named):
    time.sleep(0.1)
    put(self, name, *rest, **named)
ObjectFolder.put = slowly
publish.publish_store(Path(sys.argv[1]), sys.argv[2])
"""


def test_a_killed_publication_goes_on(local: Path, bucket: str, uploads: list[str]) -> None:
    location = f"{bucket}/atlas"
    process = subprocess.Popen([sys.executable, "-c", PUBLISH_SLOWLY, str(local), location])
    folder = ObjectFolder(location)
    deadline = time.monotonic() + 30
    while len(folder.list()) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    there = {entry.name for entry in folder.list()}
    assert there and "manifest.json" not in there
    publish_store(local, location)
    assert there.isdisjoint(uploads)
    assert_equal_bytes(local, location)


def test_what_was_half_written_under_a_name_is_written_again(local: Path, bucket: str) -> None:
    name = places.shards_of([record.path for record in read_manifest(local).records])[0]
    content = (local / name).read_bytes()
    # Of equal size: only the checksum tells.
    ObjectFolder(f"{bucket}/atlas").put(name, bytes(len(content)), checksum=1)
    publish_store(local, f"{bucket}/atlas")
    assert_equal_bytes(local, f"{bucket}/atlas")


def test_another_store_at_the_location_is_not_touched(local: Path, bucket: str, tmp_path: Path) -> None:
    publish_store(local, f"{bucket}/atlas")
    before = ObjectFolder(f"{bucket}/atlas").list()
    places.make_store(tmp_path / "other", seed=9)
    with pytest.raises(ConfigError, match="Another store has been committed"):
        publish_store(tmp_path / "other", f"{bucket}/atlas")
    assert ObjectFolder(f"{bucket}/atlas").list() == before


def test_of_two_stores_published_at_once_one_is_refused(
    local: Path, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_if_absent = ObjectFolder.put_if_absent

    def be_late(self: ObjectFolder, name: str, content: bytes) -> bool:
        put_if_absent(self, name, b"of somebody who was quicker")
        return put_if_absent(self, name, content)

    monkeypatch.setattr(ObjectFolder, "put_if_absent", be_late)
    with pytest.raises(ConfigError, match="Another store has been committed"):
        publish_store(local, f"{bucket}/atlas")
    assert ObjectFolder(f"{bucket}/atlas").get("manifest.json") == b"of somebody who was quicker"


def test_a_damaged_local_file_is_not_published(bucket: str, tmp_path: Path) -> None:
    places.make_store(tmp_path / "atlas")
    shard = tmp_path / "atlas" / "X" / "c" / "1" / "0"
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(CorruptStore, match=r"X/c/1/0: the checksum is"):
        publish_store(tmp_path / "atlas", f"{bucket}/atlas")
    assert not ObjectFolder(f"{bucket}/atlas").exists("manifest.json")


def test_a_file_is_uploaded_once(bucket: str, tmp_path: Path) -> None:
    (tmp_path / "shard").write_bytes(b"one")
    assert publish_file(tmp_path / "shard", f"{bucket}/atlas", "X/c/0/0")
    assert not publish_file(tmp_path / "shard", f"{bucket}/atlas", "X/c/0/0")
    (tmp_path / "shard").write_bytes(b"two")
    assert publish_file(tmp_path / "shard", f"{bucket}/atlas", "X/c/0/0")
    assert ObjectFolder(f"{bucket}/atlas").get("X/c/0/0") == b"two"


def damages(folder: ObjectFolder, shard: str) -> Iterator[tuple[str, str]]:
    content = folder.get(shard)
    folder.put(shard, bytes(len(content)))
    yield shard, "the checksum is"
    folder.put(shard, content[:-1])
    yield shard, f"the object has {len(content) - 1} bytes"
    folder.delete(shard)
    yield shard, "the object is missing"
    folder.put(shard, content)
    folder.put("stray", b"x")
    yield "stray", "the manifest does not know this object"


def test_validation_names_every_kind_of_damage_in_the_bucket(local: Path, bucket: str) -> None:
    publish_store(local, f"{bucket}/atlas")
    shard = places.shards_of([record.path for record in read_manifest(local).records])[-1]
    for path, what in damages(ObjectFolder(f"{bucket}/atlas"), shard):
        problems = validate_store(f"{bucket}/atlas")
        assert [problem.path for problem in problems] == [path]
        assert what in problems[0].what
