"""The keys that a running server knows: a changed file is read again, so that revoking needs no restart."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pertcast_serve.access.caller import Caller
from pertcast_serve.access.keys import KEY_PATTERN, DamagedKeys, Key, read_keys

log = logging.getLogger(__name__)

CHECK_EVERY_S: Final = 1.0
"""A changed file counts for requests that arrive this long after it, at the latest."""

_NO_KEY: Final = Key(
    id="0" * 12, name="none", sha256="0" * 64, scopes=("predict",), created=datetime(1970, 1, 1, tzinfo=UTC)
)


class Unauthorized(Exception):
    """No valid key; the message says why and what to do."""


_Signature = tuple[int, int, int]


class KeyRing:
    """Recognises keys.

    Parameters
    ----------
    path
        File of `pertcast key`; raises DamagedKeys where it cannot be read.
    now
        The time in UTC.
    """

    def __init__(self, path: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._path = path
        self._now = now
        self._signature = self._signature_now()
        self._keys = {key.id: key for key in read_keys(path)}
        self._checked_at = time.monotonic()
        self._checking = asyncio.Lock()

    def _signature_now(self) -> _Signature | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        # Keys are replaced by a new file: its inode tells two writes within one tick of the clock apart.
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _check(self) -> None:
        """Read the file again if it changed; a damaged one changes nothing, so that no one is locked out."""
        signature = self._signature_now()
        if signature == self._signature:
            return
        self._signature = signature
        try:
            self._keys = {key.id: key for key in read_keys(self._path)}
        except DamagedKeys as error:
            log.error("the keys of before stay in force: %s", error)
        else:
            log.info("keys were read again", extra={"file": str(self._path), "keys": len(self._keys)})

    async def refresh(self) -> None:
        """Look for a changed file, at most once in `CHECK_EVERY_S`; whoever comes meanwhile waits for it."""
        if time.monotonic() - self._checked_at < CHECK_EVERY_S:
            return
        async with self._checking:
            if time.monotonic() - self._checked_at >= CHECK_EVERY_S:
                await asyncio.to_thread(self._check)
                self._checked_at = time.monotonic()

    async def caller_with(self, text: str) -> Caller:
        """Return whom a key stands for; raises Unauthorized for one that is unknown, revoked or expired."""
        await self.refresh()
        parts = KEY_PATTERN.fullmatch(text)
        if parts is None:
            raise Unauthorized("This is no key of this server: keys look like pc_<id>_<secret>.")
        key = self._keys.get(parts[1], _NO_KEY)
        # What is wrong with a key is told only to those who hold it.
        if not key.is_secret(parts[2]):
            raise Unauthorized("This key is unknown. Check that it is whole, or ask an administrator.")
        state = key.state(self._now())
        if state != "active":
            raise Unauthorized(f"This key ({key.id}) is {state}. Ask an administrator for a new one.")
        return key.caller
