"""A source file or folder of an object store, brought to the local cache whole.

Readers of h5ad, gctx, 10x folders and tables then read a local path. The cache knows a version by its
location, entity tag and size: a changed object is another one, an interrupted transfer goes on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Final

from pertcast_data.errors import ObjectMissing
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.storage.cache import Cache
from pertcast_data.storage.failures import storage_errors
from pertcast_data.storage.location import RemoteLocation, is_remote, parse_location
from pertcast_data.storage.objects import ObjectEntry, ObjectFolder

_ARRIVING: Final = ".arriving"
_THREADS: Final = 8


def local_copy(
    location: str | Path | RemoteLocation,
    cache: Cache | None = None,
    progress: ProgressCallback = no_progress,
) -> Path:
    """Return a local path with the content of `location`, which is fetched where the cache lacks it.

    Parameters
    ----------
    location
        A file ("s3://bucket/screen.h5ad") or a folder of objects (a .zarr, a 10x folder); a local path is
        returned as it is.
    cache
        `Cache.from_environment()` by default.
    progress
        Told of bytes that have arrived.

    Returns
    -------
    pathlib.Path
        A file or folder that is complete and has the name of the source.

    Raises
    ------
    ObjectMissing
        Nothing lies at `location`.
    StorageError
        The object store or the cache cannot be used.
    """
    if not isinstance(location, RemoteLocation) and not is_remote(location):
        return Path(location)
    place = parse_location(location)
    held = cache or Cache.from_environment()
    entry = ObjectFolder(place.parent).head(place.name) if place.key else None
    if entry is not None:
        return _file(place, entry, held, progress)
    entries = ObjectFolder(place).list()
    if not entries:
        raise ObjectMissing(
            f"There is neither an object nor a folder of objects at {place}. Check the location's spelling."
        )
    return _folder(place, entries, held, progress)


def _file(place: RemoteLocation, entry: ObjectEntry, cache: Cache, progress: ProgressCallback) -> Path:
    folder = cache.file_folder(_version(place, [entry]))
    target = folder / place.name
    with cache.lock(folder):
        if target.exists():
            cache.touch(folder)
            return target
        cache.make_room(entry.size)
        tell = _byte_counter(entry.size, cache, folder, progress)
        ObjectFolder(place.parent).get_to(place.name, target, on_bytes=tell, resumed=entry)
    return target


def _folder(
    place: RemoteLocation, entries: Sequence[ObjectEntry], cache: Cache, progress: ProgressCallback
) -> Path:
    folder = cache.file_folder(_version(place, entries))
    target, arriving = folder / place.name, folder / _ARRIVING
    total = sum(entry.size for entry in entries)
    objects = ObjectFolder(place)
    with cache.lock(folder):
        if target.exists():
            cache.touch(folder)
            return target
        cache.make_room(total)
        tell = _byte_counter(total, cache, folder, progress)

        def fetch(entry: ObjectEntry) -> None:
            if (arriving / entry.name).exists():
                tell(entry.size)
            else:
                objects.get_to(entry.name, arriving / entry.name, on_bytes=tell, resumed=entry)

        with ThreadPoolExecutor(max_workers=_THREADS) as pool:
            # A folder's marker ("atlas.zarr/") is an object without a name of its own.
            list(pool.map(fetch, [entry for entry in entries if entry.name.strip("/")]))
        with storage_errors(place.url, "read"):
            os.replace(arriving, target)
    return target


def _byte_counter(
    total: int, cache: Cache, folder: Path, progress: ProgressCallback
) -> Callable[[int], None]:
    """Return a function that adds up bytes from several threads and marks `folder` as in use."""
    lock = Lock()
    arrived = 0

    def add(count: int) -> None:
        nonlocal arrived
        with lock:
            arrived += count
            cache.touch(folder)
            progress(arrived, total, "bytes fetched")

    return add


def _version(place: RemoteLocation, entries: Sequence[ObjectEntry]) -> str:
    return "\n".join([place.url, *(f"{entry.name} {entry.size} {entry.etag}" for entry in entries)])
