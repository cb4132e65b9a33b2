"""Keys: only hashes are kept, the file is whole or refused, and a running server follows its changes."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pertcast.errors import ConfigError
from pertcast_serve.access import key_ring
from pertcast_serve.access.key_ring import KeyRing, Unauthorized
from pertcast_serve.access.keys import KEY_PATTERN, DamagedKeys, Key, change_keys, new_key, read_keys

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def made(path: Path, name: str = "Ada", expires: datetime | None = None) -> tuple[str, Key]:
    text, key = new_key(name, ["predict"], expires, NOW)
    change_keys(path, lambda before: (*before, key), may_create=True)
    return text, key


def without(identity: str) -> Callable[[tuple[Key, ...]], tuple[Key, ...]]:
    return lambda before: tuple(key for key in before if key.id != identity)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_the_file_holds_no_secret_and_only_its_owner_reads_it(path: Path) -> None:
    text, key = made(path)
    parts = KEY_PATTERN.fullmatch(text)
    assert parts is not None
    assert len(bytes.fromhex(parts[2])) == 32
    assert parts[2] not in path.read_text()
    assert key.sha256 in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in path.parent.iterdir()] and read_keys(path) == (key,)
    assert {found.name for found in path.parent.iterdir()} == {"keys.json", ".keys.json.lock"}


def test_two_keys_never_share_a_secret() -> None:
    texts = {new_key("Ada", ["predict"])[0] for _ in range(100)}
    assert len(texts) == 100


def test_keys_made_at_once_are_all_kept(path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: made(path, f"user {number}"), range(24)))
    assert {key.name for key in read_keys(path)} == {f"user {number}" for number in range(24)}


def damaged_contents(text: str) -> dict[str, str]:
    record = json.loads(text)
    key = record["keys"][0]
    return {
        "cut": text[:-20],
        "empty": "",
        "a list": "[]",
        "an unknown scope": json.dumps({**record, "keys": [{**key, "scopes": ["everything"]}]}),
        "no hash": json.dumps({**record, "keys": [{**key, "sha256": "secret"}]}),
        "an id twice": json.dumps({**record, "keys": [key, key]}),
        "a time without a zone": json.dumps({**record, "keys": [{**key, "created": "2030-01-01T00:00:00"}]}),
        "a later format": json.dumps({**record, "format": "pertcast-keys-2"}),
        "a field that we do not know": json.dumps({**record, "keys": [{**key, "secret": "x"}]}),
    }


CONTENTS = (
    "cut",
    "empty",
    "a list",
    "an unknown scope",
    "no hash",
    "an id twice",
    "a time without a zone",
    "a later format",
    "a field that we do not know",
)


@pytest.mark.parametrize("name", CONTENTS)
def test_a_damaged_file_is_an_error_with_a_remedy_and_stays_as_it_is(path: Path, name: str) -> None:
    made(path)
    damaged = damaged_contents(path.read_text())[name]
    path.write_text(damaged)
    with pytest.raises(DamagedKeys, match=r"keys\.json.*pertcast key create --keys"):
        KeyRing(path)
    with pytest.raises(DamagedKeys):
        made(path)
    assert path.read_text() == damaged


def test_a_missing_file_or_folder_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DamagedKeys, match=r"no such file of keys.*pertcast key create"):
        KeyRing(tmp_path / "none.json")
    with pytest.raises(ConfigError, match="Choose a folder"):
        made(tmp_path / "none" / "keys.json")


def test_a_change_that_fails_leaves_the_file_and_no_other(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ConfigError, match="No space left"):
        made(path)
    assert path.read_bytes() == before
    assert {found.name for found in path.parent.iterdir()} == {"keys.json", ".keys.json.lock"}


def test_a_key_is_known_whole_only(path: Path) -> None:
    text, key = made(path)
    ring = KeyRing(path)

    async def refusal(given: str) -> str:
        with pytest.raises(Unauthorized) as refused:
            await ring.caller_with(given)
        return str(refused.value)

    async def check() -> None:
        caller = await ring.caller_with(text)
        assert (caller.id, caller.name, caller.scopes) == (key.id, "Ada", {"predict"})
        last = "0" if text[-1] != "0" else "1"
        assert "unknown" in await refusal(text[:-1] + last)
        assert "unknown" in await refusal("pc_" + "0" * 12 + "_" + "0" * 64)
        for odd in (
            text[:-1],
            text + "0",
            text.upper(),
            f" {text}",
            f"{text}\n",
            "",
            "pc__",
            key.sha256,
            "é",
        ):
            assert "no key of this server" in await refusal(odd)

    asyncio.run(check())


def test_an_expired_and_a_revoked_key_are_refused_and_say_so_only_to_their_holder(path: Path) -> None:
    text, key = made(path, expires=NOW + timedelta(days=1))
    day = timedelta(days=1)

    async def state_at(now: datetime, given: str = text) -> str:
        try:
            await KeyRing(path, lambda: now).caller_with(given)
        except Unauthorized as refused:
            return str(refused)
        return "passed"

    assert asyncio.run(state_at(NOW + day / 2)) == "passed"
    assert f"({key.id}) is expired" in asyncio.run(state_at(NOW + day))
    stranger = f"pc_{key.id}_{'0' * 64}"
    assert "expired" not in asyncio.run(state_at(NOW + day, stranger))
    change_keys(path, lambda before: tuple(k.model_copy(update={"revoked": NOW}) for k in before))
    assert f"({key.id}) is revoked" in asyncio.run(state_at(NOW + day / 2))


def test_a_running_ring_follows_its_file_and_outlives_a_damaged_one(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(key_ring, "CHECK_EVERY_S", 0.0)
    first, key = made(path)
    ring = KeyRing(path)

    async def passes(text: str) -> bool:
        try:
            await ring.caller_with(text)
        except Unauthorized:
            return False
        return True

    async def check() -> None:
        second, _ = made(path, "Grace")
        assert await passes(first) and await passes(second)
        whole = path.read_text()
        path.write_text(whole[:-9])
        with caplog.at_level(logging.ERROR):
            assert await passes(first) and await passes(second)
            assert await passes(first)
        assert sum("the keys of before stay in force" in line for line in caplog.messages) == 1
        path.unlink()
        assert await passes(first)
        path.write_text(whole)
        change_keys(path, without(key.id))
        assert not await passes(first)
        assert await passes(second)

    asyncio.run(check())


def test_a_change_counts_within_two_seconds(path: Path) -> None:
    assert key_ring.CHECK_EVERY_S < 2
    text, key = made(path)
    ring = KeyRing(path)

    async def check() -> float:
        await ring.caller_with(text)
        change_keys(path, without(key.id))
        began = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() - began < 5:
            try:
                await ring.caller_with(text)
            except Unauthorized:
                return asyncio.get_running_loop().time() - began
            await asyncio.sleep(0.05)
        return 5.0

    assert asyncio.run(check()) < 2
