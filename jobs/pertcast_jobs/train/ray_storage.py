"""Where the checkpoints of a Ray run lie: seen by all its machines, written by one group of workers only."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pertcast.training.checkpoint import CheckpointStore, WriteShare
from pertcast.training.distributed import gather_objects, rank
from pertcast_data.errors import ConfigError, PertcastError
from pertcast_data.storage import is_remote

from pertcast_jobs.run_config import RunConfig
from pertcast_jobs.run_folder import RunFolder, write_text
from pertcast_jobs.train.checkpoint_place import open_checkpoint_store

GROUP_FILE: Final = "group"
"""In the folder of workers' notes: the name of the group of workers that writes now."""

_SEEN_WITHIN_S: Final = 20.0
_LOOK_EVERY_S: Final = 0.5


def shared_folders(config: RunConfig, run: RunFolder) -> tuple[Path, ...]:
    """Return the folders that the driver and every worker must see: of workers' notes, and of checkpoints."""
    storage = config.cluster.storage_path
    return (run.workers_path,) if storage is None or is_remote(storage) else (run.workers_path, storage)


def mark_folders(folders: Iterable[Path]) -> str:
    """Leave a mark in folders, for the workers to find; returns what it says."""
    mark = secrets.token_hex(8)
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / f".{mark}", mark)
    return mark


def forget_mark(folders: Iterable[Path], mark: str) -> None:
    """Remove a mark."""
    for folder in folders:
        (folder / f".{mark}").unlink(missing_ok=True)


def require_shared(folders: Iterable[Path], mark: str) -> None:
    """Raise, on every rank, where one of them does not see a folder as the driver does.

    Raises
    ------
    ConfigError
        Naming folder and machines.
    """
    for folder in folders:
        mine = None if _appears(folder / f".{mark}") else socket.gethostname()
        blind = [
            f"{host} (rank {rank_})" for rank_, host in enumerate(gather_objects(mine)) if host is not None
        ]
        if blind:
            raise ConfigError(
                f"{folder} on {', '.join(blind)} is not the driver's folder of that name: checkpoints would "
                "be lost. Put --out (and cluster.storage_path, where it is a folder) on storage that all "
                "machines see under the same path."
            )


def _appears(path: Path) -> bool:
    """Wait for a file: network file systems show new ones to other machines after some seconds."""
    deadline = time.monotonic() + _SEEN_WITHIN_S
    while not path.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_EVERY_S)
    return True


def fenced_store(config: RunConfig, run: RunFolder) -> CheckpointStore:
    """Return this rank's way to the checkpoints, which is closed to earlier groups of workers from now on."""
    group = secrets.token_hex(4)
    if rank() == 0:
        write_text(run.workers_path / GROUP_FILE, group)
    return FencedStore(open_checkpoint_store(config, run), run.workers_path / GROUP_FILE, group)


class GroupReplaced(PertcastError):
    """A worker that Ray gave up, cut off from the rest but alive, finds that another group goes on."""


class FencedStore:
    """A store whose checkpoints are committed by the newest group of workers only.

    Ray ends the workers of a group before it starts the next, but cannot reach one whose machine is cut off.

    Parameters
    ----------
    store
        Where the checkpoints go.
    group_file
        Where the name of the group stands.
    group
        This group's.
    """

    def __init__(self, store: CheckpointStore, group_file: Path, group: str) -> None:
        self._store = store
        self._file = group_file
        self._group = group
        self.place = store.place

    def _require_newest(self) -> None:
        newest = self._file.read_text(encoding="utf-8")
        if newest != self._group:
            raise GroupReplaced(
                f"Another group of workers ({newest}) goes on with {self.place}; this one ({self._group}, on "
                f"{socket.gethostname()}) ends without writing there."
            )

    def begin(self, name: str) -> None:
        """Make room, unless another group took over."""
        self._require_newest()
        self._store.begin(name)

    def write_share(self, name: str, write: WriteShare) -> None:
        """Keep this rank's files."""
        self._store.write_share(name, write)

    def commit(self, name: str) -> None:
        """Make the checkpoint count, unless another group took over."""
        self._require_newest()
        self._store.commit(name)

    def discard(self, name: str) -> None:
        """Remove what was written, unless another group took over."""
        self._require_newest()
        self._store.discard(name)

    def names(self) -> list[str]:
        """Return the committed checkpoints."""
        return self._store.names()

    def fetch(self, name: str) -> Path:
        """Return a local folder of a checkpoint."""
        return self._store.fetch(name)
