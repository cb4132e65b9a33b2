"""Checkpoints in an object store (s3://, gs://): every rank uploads its share, a marker makes them count."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from pertcast.training.checkpoint import WriteShare, is_checkpoint_name, too_old
from pertcast_data.errors import StorageError
from pertcast_data.storage import ObjectFolder, local_copy, parse_location

MARKER: Final = "COMMITTED"


class RemoteCheckpointStore:
    """Checkpoints as folders of objects; see `pertcast.training.checkpoint.CheckpointStore` for the methods.

    Parameters
    ----------
    location
        Such as "s3://bucket/runs/first-checkpoints".
    keep
        How many of the newest are kept.
    """

    def __init__(self, location: str | Path, keep: int = 2) -> None:
        self._objects = ObjectFolder(location)
        self._keep = keep
        self.place = parse_location(location).url

    def begin(self, name: str) -> None:
        """Delete what interrupted uploads left; one of this very name stops counting first."""
        names = {entry.name.partition("/")[0] for entry in self._objects.list()}
        for left in names - set(self.names()) | names & {name}:
            self.discard(left)

    def write_share(self, name: str, write: WriteShare) -> None:
        """Write this rank's files into a temporary folder and upload them."""
        with tempfile.TemporaryDirectory(prefix="pertcast-checkpoint-") as folder:
            share = Path(folder)
            write(share)
            for path in sorted(share.rglob("*")):
                if path.is_file():
                    self._objects.put(f"{name}/{path.relative_to(share).as_posix()}", path)

    def commit(self, name: str) -> None:
        """Write the marker, then drop the oldest."""
        self._objects.put(f"{name}/{MARKER}", b"")
        with suppress(StorageError):
            for old in too_old(self.names(), name, self._keep):
                self.discard(old)

    def discard(self, name: str) -> None:
        """Delete a checkpoint's objects, the marker first: half a one never counts."""
        self._objects.delete(f"{name}/{MARKER}")
        self._objects.delete(name)

    def names(self) -> list[str]:
        """Return the checkpoints that have their marker, oldest first."""
        marked = {
            entry.name.partition("/")[0]
            for entry in self._objects.list()
            if entry.name.endswith(f"/{MARKER}")
        }
        return sorted(filter(is_checkpoint_name, marked))

    def fetch(self, name: str) -> Path:
        """Return a checkpoint in the local cache, brought there by one process a machine."""
        return local_copy(self._objects.url(name))
