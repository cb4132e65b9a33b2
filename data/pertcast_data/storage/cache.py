"""The local cache of what was read from object stores: one folder, one limit, several processes.

What lies in it under its final name is complete. The least recently used files go first; what was asked for
a short while ago stays, as a reader may be about to read it.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import math
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pertcast_data.errors import ConfigError
from pertcast_data.storage.failures import disk_error

log = logging.getLogger(__name__)

DEFAULT_GIGABYTES: Final = 100.0
SHARD_IN_USE_SECONDS: Final = 900.0
"""A shard that was asked for this recently is not evicted."""
FILE_IN_USE_SECONDS: Final = 86_400.0
"""The same for a whole source file or folder: an ingest reads it for hours."""
_STORES, _FILES, _LOCKS = "stores", "files", "locks"


@dataclass(frozen=True)
class Cache:
    """The cache folder.

    Attributes
    ----------
    root
        The folder; made when it is first needed.
    limit_bytes
        What shards and source files may take together. Those in use may exceed it for a while.
    shard_in_use_seconds, file_in_use_seconds
        How long after its last use nothing is evicted.
    """

    root: Path
    limit_bytes: int
    shard_in_use_seconds: float = SHARD_IN_USE_SECONDS
    file_in_use_seconds: float = FILE_IN_USE_SECONDS

    @classmethod
    def from_environment(cls) -> Cache:
        """Return the cache that PERTCAST_CACHE (~/.cache/pertcast) and PERTCAST_CACHE_GB (100) describe.

        Raises
        ------
        ConfigError
            The limit is not a positive number.
        """
        folder = os.environ.get("PERTCAST_CACHE")
        root = Path(folder).expanduser().absolute() if folder else Path.home() / ".cache" / "pertcast"
        stated = os.environ.get("PERTCAST_CACHE_GB", "")
        try:
            gigabytes = float(stated) if stated else DEFAULT_GIGABYTES
        except ValueError:
            gigabytes = math.nan
        if not (math.isfinite(gigabytes) and gigabytes > 0):
            raise ConfigError(
                f"PERTCAST_CACHE_GB is {stated!r}. Give gigabytes as a number above 0, such as 100."
            )
        return cls(root, int(gigabytes * 1e9))

    def store_folder(self, url: str, version: str, name: str) -> Path:
        """Return the folder of one version of a remote store; its last part is the store's own name."""
        return self.root / _STORES / digest(url) / version / name

    def file_folder(self, key: str) -> Path:
        """Return the folder of one version of a remote source file or folder."""
        return self.root / _FILES / digest(key)

    @contextmanager
    def lock(self, target: Path) -> Iterator[None]:
        """Hold `target` alone among all threads and processes that ask; 256 locks serve all targets.

        The lock of a process that was killed is free at once.
        """
        place = self.root / _LOCKS / f"{digest(str(target))[:2]}.lock"
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(place, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise disk_error(error, str(self.root), "use the cache") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def touch(self, path: Path) -> bool:
        """Note that `path` is used now; False where it is not there."""
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
        except PermissionError:
            # A cache that several people share: another one's file is used, its age stays.
            return path.exists()
        return True

    def make_room(self, incoming_bytes: int) -> None:
        """Evict what was used longest ago until `incoming_bytes` more fit; what is in use stays."""
        held = sorted(self._held())
        excess = sum(size for _, size, _, _ in held) + incoming_bytes - self.limit_bytes
        now = time.time()
        for last_used, size, path, keep_seconds in held:
            if excess <= 0:
                return
            if now - last_used < keep_seconds:
                continue
            log.info("evicted from the cache", extra={"path": str(path), "bytes": size})
            _remove(path)
            excess -= size

    def _held(self) -> Iterator[tuple[float, int, Path, float]]:
        """Yield (last use, bytes, path, seconds it stays in use) of everything that may be evicted."""
        for path in (self.root / _STORES).glob("*/*/*/X/**/c/**/*"):
            with suppress(FileNotFoundError):
                state = path.stat()
                if path.is_file():
                    yield state.st_mtime, state.st_size, path, self.shard_in_use_seconds
        for folder in (self.root / _FILES).glob("*"):
            with suppress(FileNotFoundError):
                sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
                yield folder.stat().st_mtime, sum(sizes), folder, self.file_in_use_seconds


def digest(text: str) -> str:
    """Return 24 hexadecimal digits that stand for `text`."""
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError, PermissionError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
