"""Files of a screen on their way to and from a bucket: several at once, each compared with what is stated."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Final, TypeVar

from pertcast.screens.files import RECORD
from pertcast_data.errors import ObjectMissing
from pertcast_data.storage import ObjectFolder
from pertcast_data.store.manifest import ShardRecord, file_record

_THREADS: Final = 8
_READ_BYTES: Final = 1 << 22
_TELL_SECONDS: Final = 0.2

Item = TypeVar("Item")


class ScreenObjects(ObjectFolder):
    """The objects of a screen in a bucket, finished or not."""

    def find(self, name: str) -> bytes | None:
        """Return the bytes of an object, None where there is none."""
        try:
            return self.get(name)
        except ObjectMissing:
            return None

    def sizes(self) -> dict[str, int]:
        """Return the bytes of every object."""
        return {entry.name: entry.size for entry in self.list()}

    def records(self, n_shards: int, sizes: Mapping[str, int]) -> dict[int, list[ShardRecord]]:
        """Return the shards whose record is among the objects of `sizes`, and the files of each, in order."""
        shards = {RECORD.format(shard=shard): shard for shard in range(n_shards)}
        found: dict[int, list[ShardRecord]] = {}

        def read(name: str) -> None:
            rows = parsed_object(self.get(name)).get("files")
            if rows:
                found[shards[name]] = [ShardRecord(**row) for row in rows]

        in_parallel(read, [name for name in shards if name in sizes])
        return dict(sorted(found.items()))

    def holds(self, record: ShardRecord, sizes: Mapping[str, int]) -> bool:
        """Whether the object has the recorded size, and the recorded checksum was stated when it was put."""
        if record.bytes == 0:
            return True
        if sizes.get(record.path) != record.bytes:
            return False
        return self.stated_checksum(record.path) == record.crc32

    def put_file(self, root: Path, record: ShardRecord) -> None:
        """Put a file of the folder `root` under the name that it has there."""
        if record.bytes:
            self.put(record.path, root / record.path, record.crc32)


class OtherBytes(Exception):
    """A file has not the bytes that its record or manifest states."""


def measured(root: Path, name: str, stated: Mapping[str, Any]) -> ShardRecord:
    """Return the record of a file of a finished screen; raises OtherBytes where it is not as stated."""
    sha256, crc32, size = hashlib.sha256(), 0, 0
    try:
        with (root / name).open("rb") as file:
            while block := file.read(_READ_BYTES):
                sha256.update(block)
                crc32 = zlib.crc32(block, crc32)
                size += len(block)
    except FileNotFoundError as error:
        raise OtherBytes(f"{name} is missing") from error
    if (size, sha256.hexdigest()) != (stated["bytes"], stated["sha256"]):
        raise OtherBytes(f"{name} is not as the manifest says")
    return ShardRecord(name, 0, size, crc32)


def checker(record: ShardRecord) -> Callable[[Path], None]:
    """Return what refuses a file that has not the recorded bytes."""

    def check(path: Path) -> None:
        found = file_record(path.parent, path.name, sync=False)
        if (found.bytes, found.crc32) != (record.bytes, record.crc32):
            raise OtherBytes(f"{record.path} is not as recorded")

    return check


def parsed_object(content: bytes) -> dict[str, Any]:
    """Return the JSON object in `content`; nothing where it is none."""
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def in_parallel(
    work: Callable[[Item], Any],
    items: Sequence[Item],
    tell: Callable[[list[Item]], None] = lambda items: None,
) -> None:
    """Do `work` for each of `items` in several threads, and tell which are done.

    After the first failure nothing more is begun.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        item_of = {pool.submit(work, item): item for item in items}
        pending = set(item_of)
        try:
            while pending:
                finished, pending = wait(pending, _TELL_SECONDS, FIRST_EXCEPTION)
                for each in finished:
                    each.result()
                tell([item_of[each] for each in finished])
        finally:
            for each in pending:
                each.cancel()
