"""All screens of a server: a folder each, found by id, begun once for a key of idempotency."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from pertcast_data.store.manifest import sync_directory

from pertcast_serve.screens.folder import REQUEST, ScreenFolder, ScreenRecord, write_whole
from pertcast_serve.screens.identifiers import is_identifier

_KEYS: Final = ".keys"
_LOCKS: Final = ".locks"
_NEW: Final = ".new"


@dataclass(frozen=True, slots=True)
class Keyed:
    """What a key of idempotency stands for.

    Attributes
    ----------
    screen
        Id of the screen that it began.
    request_hash
        SHA-256 of the body that came with it.
    """

    screen: str
    request_hash: str


def _name_of(*parts: str) -> str:
    """Return a file's name for what callers name as they like."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class ScreenStore:
    """The screens below one folder.

    Parameters
    ----------
    root
        The folder; made where it is not there. A shared volume must know POSIX locks.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._records: dict[str, ScreenRecord] = {}

    def place_of(self, identifier: str) -> Path:
        """Return where a screen's folder is or will be."""
        return self.root / identifier

    def find(self, identifier: str) -> ScreenFolder | None:
        """Return the screen of an id from outside; None where there is none."""
        if not is_identifier(identifier) or not (self.place_of(identifier) / REQUEST).is_file():
            return None
        return ScreenFolder(self.place_of(identifier))

    def all(self) -> list[ScreenFolder]:
        """Return all screens, the newest first."""
        if not self.root.is_dir():
            return []
        names = sorted((path.name for path in self.root.iterdir() if is_identifier(path.name)), reverse=True)
        return [folder for folder in map(self.find, names) if folder is not None]

    def of(self, caller_id: str | None) -> list[ScreenFolder]:
        """Return the screens of a caller, the newest first; all where None."""
        return [
            folder
            for folder in self.all()
            if caller_id is None or self.record_of(folder).caller_id == caller_id
        ]

    def record_of(self, folder: ScreenFolder) -> ScreenRecord:
        """Return what was asked for; read once, as it never changes."""
        if folder.id not in self._records:
            self._records[folder.id] = folder.record
        return self._records[folder.id]

    def begin(self, record: ScreenRecord, fill: Callable[[Path], None]) -> ScreenFolder:
        """Make a screen's folder, whole or not at all; `fill` writes the lists of its command."""
        unfinished = self.root / _NEW / record.id
        unfinished.mkdir(parents=True)
        try:
            fill(unfinished)
            write_whole(unfinished / REQUEST, record.model_dump_json(indent=1).encode())
            unfinished.rename(self.place_of(record.id))
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        sync_directory(self.root)
        return ScreenFolder(self.place_of(record.id))

    def keyed(self, caller_id: str, key: str) -> Keyed | None:
        """Return what a caller's key of idempotency stands for; None for a new one."""
        try:
            found = json.loads((self.root / _KEYS / _name_of(caller_id, key)).read_bytes())
        except FileNotFoundError:
            return None
        return Keyed(found["screen"], found["request_hash"])

    def keep_key(self, caller_id: str, key: str, keyed: Keyed) -> None:
        """Note what a key stands for, before the screen is begun."""
        folder = self.root / _KEYS
        folder.mkdir(parents=True, exist_ok=True)
        content = json.dumps({"screen": keyed.screen, "request_hash": keyed.request_hash})
        write_whole(folder / _name_of(caller_id, key), content.encode())

    @contextmanager
    def alone(self, caller_id: str) -> Iterator[None]:
        """Hold a caller's screens: no other process or thread begins one of them meanwhile."""
        with self._lock_file(_name_of(caller_id)).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def try_lease(self, what: str) -> BinaryIO | None:
        """Return an open file while this process is the one that does `what`; None where another is."""
        lease = self._lock_file(what).open("wb")
        try:
            fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lease.close()
            return None
        return lease

    def _lock_file(self, name: str) -> Path:
        folder = self.root / _LOCKS
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name
