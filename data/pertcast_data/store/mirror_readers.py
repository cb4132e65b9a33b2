"""Readers of a store in a bucket: those of a local store, each told to bring the shards first."""

from __future__ import annotations

from pertcast_data.errors import CorruptStore
from pertcast_data.store.disk_readers import CACHED_ROWS, open_on_disk
from pertcast_data.store.info import StoreInfo
from pertcast_data.store.mirror import StoreMirror
from pertcast_data.store.readers import RowReader, load_into_memory


def open_mirror_on_disk(mirror: StoreMirror, info: StoreInfo, cached_rows: int = CACHED_ROWS) -> RowReader:
    """Return a reader that fetches the shards of the rows it is asked for, or told of, into the cache.

    Raises
    ------
    CorruptStore
        The row pointers are missing in the bucket or were changed; later, a shard.
    StorageError
        The object store cannot be used.
    """
    opened: list[RowReader] = []

    def open_reader() -> None:
        opened.append(open_on_disk(mirror.path, info, cached_rows, mirror.fetch_slices))

    # A sparse reader takes all row pointers when it is made.
    mirror.read_with(mirror.records_of("X/indptr"), open_reader)
    return opened[-1]


def load_mirror(mirror: StoreMirror, info: StoreInfo) -> RowReader:
    """Fetch every shard, several at once, and read X whole after its checksums have been compared.

    Raises
    ------
    CorruptStore
        A shard is missing in the bucket or was changed.
    StorageError
        The object store cannot be used.
    """
    opened: list[RowReader] = []

    def load() -> None:
        opened.append(load_into_memory(mirror.path, info, mirror.manifest))

    try:
        mirror.read_with(mirror.shards, load)
    except CorruptStore:
        # The bucket's bytes were checked on arrival: a cached file that was damaged since is fetched again.
        if not mirror.drop_damaged(mirror.shards):
            raise
        mirror.read_with(mirror.shards, load)
    return opened[-1]
