"""Checkpoints as folders below one folder that all ranks see, and no checkpoints at all."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from pertcast.training.checkpoint import WriteShare, is_checkpoint_name, too_old
from pertcast.training.distributed import rank, world_size
from pertcast.training.files import replace_folder, sync_file, sync_folder


class NoCheckpoints:
    """Keeps nothing: for models that train in seconds."""

    place = "nowhere"

    def begin(self, name: str) -> None:
        """Make no room."""

    def write_share(self, name: str, write: WriteShare) -> None:
        """Keep nothing."""

    def commit(self, name: str) -> None:
        """Commit nothing."""

    def discard(self, name: str) -> None:
        """Remove nothing."""

    def names(self) -> list[str]:
        """Return no names."""
        return []

    def fetch(self, name: str) -> Path:
        """Raise FileNotFoundError."""
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


class LocalCheckpointStore:
    """Checkpoints as folders below one folder that all ranks see; see `CheckpointStore` for the methods.

    Parameters
    ----------
    folder
        Where they are kept, one folder a checkpoint; made when needed. The folder that it lies in is not:
        where that is missing, the storage is away.
    keep
        How many of the newest are kept.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep
        self.place = str(folder)

    def _partial(self, name: str) -> Path:
        return self.folder / f".{name}.partial"

    def begin(self, name: str) -> None:
        """Make a temporary sibling, after clearing away those that a crash left."""
        self.folder.mkdir(exist_ok=True)
        self._recover()
        for left in self.folder.glob(".*.partial"):
            shutil.rmtree(left)
        self._partial(name).mkdir()

    def write_share(self, name: str, write: WriteShare) -> None:
        """Write this rank's files into a folder of its own inside the temporary sibling."""
        # Another machine may not see yet what rank 0 made: made here too, if need be.
        self._partial(name).mkdir(exist_ok=True)
        share = self._share(name, rank())
        share.mkdir()
        write(share)
        sync_folder(share)

    def _share(self, name: str, of_rank: int) -> Path:
        return self._partial(name) / f"share-{of_rank:05d}"

    def commit(self, name: str) -> None:
        """Join the shares, rename, drop the oldest."""
        partial = self._partial(name)
        for each in range(world_size()):
            _move_up(self._share(name, each), partial)
        replace_folder(partial, self.folder / name)
        for old in too_old(self.names(), name, self.keep):
            shutil.rmtree(self.folder / old, ignore_errors=True)

    def discard(self, name: str) -> None:
        """Remove the temporary sibling."""
        shutil.rmtree(self._partial(name), ignore_errors=True)

    def names(self) -> list[str]:
        """Return the folders that got their names, oldest first; none where the folder was not made yet."""
        if not self.folder.exists() and self.folder.parent.is_dir():
            return []
        self._recover()
        return sorted(name for name in os.listdir(self.folder) if is_checkpoint_name(name))

    def _recover(self) -> None:
        """Give a checkpoint its name back that was being replaced by one of its name when a crash came."""
        for previous in self.folder.glob(".*.previous"):
            name = previous.name.removeprefix(".").removesuffix(".previous")
            if (self.folder / name).exists():
                shutil.rmtree(previous, ignore_errors=True)
            else:
                previous.rename(self.folder / name)

    def fetch(self, name: str) -> Path:
        """Return the folder itself."""
        return self.folder / name


def _move_up(share: Path, folder: Path) -> None:
    for path in sorted(share.rglob("*")):
        if path.is_file():
            target = folder / path.relative_to(share)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
    shutil.rmtree(share)
    sync_file(folder)
