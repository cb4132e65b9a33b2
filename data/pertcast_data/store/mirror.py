"""The local mirror of a store in an object store: tables on opening, shards when their rows are wanted.

Zarr takes a shard that is missing for zeros: nothing of the mirror is read before `ensure` has seen it, and
nothing gets its name in the mirror before its size and CRC32 are those of the manifest.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Final, NoReturn

from pertcast_data.errors import CorruptStore, FormatError, ObjectMissing
from pertcast_data.preprocessing import SIDE_FILE_ENDINGS
from pertcast_data.storage import Cache, ObjectFolder, RemoteLocation, parse_location
from pertcast_data.storage.cache import digest
from pertcast_data.storage.failures import storage_errors
from pertcast_data.store.fetch import SliceRequest, fetch_slices
from pertcast_data.store.manifest import (
    MANIFEST_NAME,
    Manifest,
    ShardRecord,
    file_record,
    is_shard,
    read_manifest,
    record_problem,
)

_THREADS: Final = 16
_MOST_TRIES: Final = 3
_ROOT_METADATA: Final = "zarr.json"
_REMEDY: Final = (
    "The store was changed or damaged in the bucket: open it again, or publish it anew from a good copy."
)


class StoreMirror:
    """One version of a remote store and its folder in the cache; made by `open_mirror`.

    Attributes
    ----------
    location
        Where the store lies.
    path
        The local folder; it has the store's name and its layout, and lacks shards that were not wanted yet.
    manifest
        The committed state when it was opened.
    """

    def __init__(self, objects: ObjectFolder, path: Path, manifest: Manifest, cache: Cache) -> None:
        self.location: RemoteLocation = objects.location
        self.path = path
        self.manifest = manifest
        self._objects = objects
        self._cache = cache

    @property
    def shards(self) -> tuple[ShardRecord, ...]:
        """Every shard that has a file."""
        return tuple(record for record in self.manifest.records if record.bytes)

    def ensure(self, records: Iterable[ShardRecord]) -> None:
        """Make the files of `records` present, complete and checked; several are fetched at once.

        Raises
        ------
        CorruptStore
            A file is missing in the bucket, or is not the one that the manifest states.
        StorageError
            The object store or the cache cannot be used.
        """
        missing = [record for record in records if record.bytes and not self._is_held(record)]
        if len(missing) <= 1:
            for record in missing:
                self._fetch(record)
            return
        with ThreadPoolExecutor(max_workers=min(_THREADS, len(missing))) as pool:
            pending = [pool.submit(self._fetch, record) for record in missing]
            try:
                for each in pending:
                    each.result()
            finally:
                for each in pending:
                    each.cancel()

    def read_with(self, records: Sequence[ShardRecord], read: Callable[[], None]) -> None:
        """Call `read` while every file of `records` is there; again where one was evicted meanwhile.

        Raises
        ------
        StorageError
            The cache loses files faster than they can be read.
        """
        for _ in range(_MOST_TRIES):
            self.ensure(records)
            read()
            if all(self._is_held(record) for record in records if record.bytes):
                return
        with storage_errors(self.location.url, "read"):
            raise OSError(
                f"the cache {self._cache.root} loses shards while they are read; raise PERTCAST_CACHE_GB"
            )

    def drop_damaged(self, records: Iterable[ShardRecord]) -> int:
        """Delete cached files whose bytes are no longer those that arrived; returns how many there were."""
        damaged = [record for record in records if record_problem(self.path, record, checksum=True)]
        for record in damaged:
            (self.path / record.path).unlink(missing_ok=True)
        return len(damaged)

    def fetch_slices(self, requests: Sequence[SliceRequest]) -> None:
        """Do what `fetch.fetch_slices` does, with the shards of every slice ensured before."""
        wanted = {name for request in requests for name in self._shard_names(request)}
        records = [self._record_of[name] for name in sorted(wanted)]
        self.read_with(records, lambda: fetch_slices(requests))

    def records_of(self, array: str) -> list[ShardRecord]:
        """Return the shards of one array, such as "X/indptr"."""
        return [record for record in self.manifest.records if record.path.startswith(f"{array}/c/")]

    @cached_property
    def _record_of(self) -> dict[str, ShardRecord]:
        return {record.path: record for record in self.manifest.records}

    def _shard_names(self, request: SliceRequest) -> set[str]:
        """Return the files that a request reads; CorruptStore where the manifest knows one of them not."""
        array = request.array
        place = Path(str(array.store.root)) / array.path  # type: ignore[attr-defined]
        prefix = place.relative_to(self.path).as_posix()
        length = (array.shards or array.chunks)[0]
        zeros = "/0" * (array.ndim - 1)
        names = set()
        for start, count in zip(request.starts.tolist(), request.lengths.tolist(), strict=True):
            if count:
                last = (start + count - 1) // length
                names |= {f"{prefix}/c/{index}{zeros}" for index in range(start // length, last + 1)}
        unknown = names - self._record_of.keys()
        if unknown:
            self._corrupt(min(unknown), "the manifest does not list this shard")
        return names

    def _is_held(self, record: ShardRecord) -> bool:
        """Whether the file is there with its size; notes that it is used."""
        target = self.path / record.path
        return self._cache.touch(target) and target.stat().st_size == record.bytes

    def _fetch(self, record: ShardRecord) -> None:
        target = self.path / record.path
        with self._cache.lock(target):
            if self._is_held(record):
                return
            if is_shard(record.path):
                self._cache.make_room(record.bytes)
            try:
                self._objects.get_to(record.path, target, check=lambda file: self._check(record, file))
            except ObjectMissing as error:
                raise CorruptStore(
                    f"{self._objects.url(record.path)} is missing, though the manifest lists it. {_REMEDY}"
                ) from error

    def _check(self, record: ShardRecord, file: Path) -> None:
        found = file_record(file.parent, file.name, sync=False)
        if found.bytes != record.bytes:
            self._drop(file, record, f"{found.bytes} bytes, the manifest says {record.bytes}")
        if found.crc32 != record.crc32:
            self._drop(file, record, f"checksum {found.crc32:08x}, the manifest says {record.crc32:08x}")

    def _drop(self, file: Path, record: ShardRecord, what: str) -> NoReturn:
        file.unlink(missing_ok=True)
        self._corrupt(record.path, f"it has {what}")

    def _corrupt(self, name: str, what: str) -> NoReturn:
        raise CorruptStore(f"{self._objects.url(name)}: {what}. {_REMEDY}")


def open_mirror(location: str | Path, cache: Cache | None = None) -> StoreMirror:
    """Bring everything of a remote store but its shards to the cache, and return its mirror.

    Parameters
    ----------
    location
        Such as "s3://bucket/atlas".
    cache
        `Cache.from_environment()` by default.

    Raises
    ------
    ConfigError
        The location cannot be one.
    FormatError
        No finished store lies there.
    CorruptStore
        A table is missing or is not the one that the manifest states.
    StorageError
        The object store or the cache cannot be used.
    """
    place = parse_location(location)
    held = cache or Cache.from_environment()
    objects = ObjectFolder(place)
    content = manifest_bytes(objects)
    path = held.store_folder(place.url, digest(content.decode("latin-1")), place.name)
    _write(path / MANIFEST_NAME, content, place)
    try:
        manifest = read_manifest(path)
    except CorruptStore as error:
        (path / MANIFEST_NAME).unlink(missing_ok=True)
        raise CorruptStore(f"{objects.url(MANIFEST_NAME)} cannot be trusted. {_REMEDY}") from error
    mirror = StoreMirror(objects, path, manifest, held)
    _take_root_metadata(objects, path)
    mirror.ensure(manifest.tables)
    _take_side_files(place, path)
    return mirror


def manifest_bytes(objects: ObjectFolder) -> bytes:
    """Return the manifest of a remote store as it lies there; FormatError where there is none."""
    try:
        return objects.get(MANIFEST_NAME)
    except ObjectMissing as error:
        raise FormatError(
            f"{objects.location} has no {MANIFEST_NAME}: no finished store lies there. Check the "
            "location, or run the interrupted ingest or publication again."
        ) from error


def _take_root_metadata(objects: ObjectFolder, path: Path) -> None:
    """Fetch the root's metadata, the one file whose checksum no manifest holds."""
    if (path / _ROOT_METADATA).exists():
        return
    try:
        content = objects.get(_ROOT_METADATA)
        json.loads(content)
    except (ObjectMissing, ValueError) as error:
        raise CorruptStore(
            f"{objects.url(_ROOT_METADATA)} is missing or no JSON ({error}). {_REMEDY}"
        ) from error
    _write(path / _ROOT_METADATA, content, objects.location)


def _take_side_files(place: RemoteLocation, path: Path) -> None:
    """Fetch what is declared beside the store, and forget what is declared no more."""
    beside = ObjectFolder(place.parent)
    for ending in SIDE_FILE_ENDINGS:
        target = path.with_name(path.name + ending)
        try:
            content = beside.get(place.name + ending) if place.key else None
        except ObjectMissing:
            content = None
        if content is None:
            target.unlink(missing_ok=True)
        else:
            _write(target, content, place)


def _write(target: Path, content: bytes, place: RemoteLocation) -> None:
    """Write a small file whole: another process sees it complete or not at all."""
    with storage_errors(place.url, "read"):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.new")
        temporary.write_bytes(content)
        os.replace(temporary, target)
