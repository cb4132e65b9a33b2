"""A finished local store, copied to an object store: the manifest goes last and is the commit.

Until then nobody can open the copy, and whatever interrupts it, the next run uploads only what is missing.
An object counts as there when its size and the CRC32 in its metadata (written with it, also for objects of
several parts, whose entity tag is no checksum) are those of the manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Final

from pertcast_data.errors import ConfigError, CorruptStore, ObjectMissing
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.storage.failures import require_local_file
from pertcast_data.storage.location import RemoteLocation
from pertcast_data.storage.objects import ObjectFolder
from pertcast_data.store.manifest import (
    MANIFEST_NAME,
    ShardRecord,
    file_record,
    read_manifest,
    record_problem,
)

_THREADS: Final = 8
_ROOT_METADATA: Final = "zarr.json"


def publish_store(
    local: Path | str, location: str | Path | RemoteLocation, progress: ProgressCallback = no_progress
) -> None:
    """Copy the finished store at `local` to `location`; run again after an interruption, it goes on.

    Parameters
    ----------
    local
        A store that was committed; every file is compared with its manifest before it is uploaded.
    location
        Such as "s3://bucket/atlas": nothing, what an interrupted run left, or this very store.
    progress
        Told of files that are there.

    Raises
    ------
    ConfigError
        Another store has been committed at `location`; nothing is touched.
    CorruptStore
        A local file is not as the manifest states.
    FormatError
        There is no finished store at `local`.
    StorageError
        The object store cannot be used.
    """
    root = Path(local)
    manifest = read_manifest(root)
    content = (root / MANIFEST_NAME).read_bytes()
    folder = ObjectFolder(location)
    if _is_committed(folder, content):
        return
    shards = [record for record in manifest.records if record.bytes]
    rest = [*manifest.tables, file_record(root, _ROOT_METADATA, sync=False)]
    total = len(shards) + len(rest)
    there = {entry.name: entry.size for entry in folder.list()}
    _upload(root, folder, shards, there, lambda done: progress(done, total, "files uploaded"))
    _upload(root, folder, rest, there, lambda done: progress(len(shards) + done, total, "files uploaded"))
    if not folder.put_if_absent(MANIFEST_NAME, content):
        # Somebody else was quicker: with the same store that is success, with another one it is not.
        _is_committed(folder, content)


def publish_file(
    local_file: Path, location: str | Path | RemoteLocation, name: str, record: ShardRecord | None = None
) -> bool:
    """Upload one file of a store that is being written; False where an equal object was there already.

    Parameters
    ----------
    local_file
        The complete file.
    location
        Of the store in the object store.
    name
        Path of the file inside the store, such as "X/c/0/0".
    record
        Size and CRC32 of the file where they are known; measured otherwise.

    Raises
    ------
    StorageError
        There is no such file, or the object store cannot be used.
    """
    require_local_file(local_file)
    measured = record or file_record(local_file.parent, local_file.name, sync=False)
    folder = ObjectFolder(location)
    entry = folder.head(name)
    if entry is not None and _is_equal(folder, name, entry.size, measured):
        return False
    folder.put(name, local_file, measured.crc32)
    return True


def _is_committed(folder: ObjectFolder, content: bytes) -> bool:
    """Whether this very manifest is there; ConfigError where another one is."""
    try:
        found = folder.get(MANIFEST_NAME)
    except ObjectMissing:
        return False
    if found == content:
        return True
    raise ConfigError(
        f"Another store has been committed at {folder.location}; nothing was changed there. Choose another "
        "location, or delete that store first."
    )


def _upload(
    root: Path,
    folder: ObjectFolder,
    records: Sequence[ShardRecord],
    there: dict[str, int],
    tell: Callable[[int], None],
) -> None:
    """Upload what is missing; after the first failure nothing more is begun."""
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        pending = {pool.submit(_upload_one, root, folder, record, there) for record in records}
        done = 0
        try:
            while pending:
                finished, pending = wait(pending, return_when=FIRST_EXCEPTION, timeout=0.2)
                for each in finished:
                    each.result()
                done += len(finished)
                tell(done)
        finally:
            for each in pending:
                each.cancel()


def _upload_one(root: Path, folder: ObjectFolder, record: ShardRecord, there: dict[str, int]) -> None:
    name = record.path
    if name in there and _is_equal(folder, name, there[name], record):
        return
    problem = record_problem(root, record, checksum=True)
    if problem is not None:
        raise CorruptStore(f"{root / name}: {problem}. Restore the file, or ingest the source again.")
    folder.put(name, root / name, record.crc32)


def _is_equal(folder: ObjectFolder, name: str, size: int, record: ShardRecord) -> bool:
    return size == record.bytes and folder.stated_checksum(name) == record.crc32
