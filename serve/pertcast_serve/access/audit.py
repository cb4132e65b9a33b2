"""The audit log: one JSON line a call, of who asked for what and how it ended; never a key, never a body."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from pertcast.errors import ConfigError

log = logging.getLogger(__name__)

_OWNER_AND_GROUP: Final = 0o640
_LONGEST_VALUE: Final = 500


class AuditLog:
    """Appends lines to a file, whole, from any number of processes of one machine.

    Parameters
    ----------
    path
        The file; made where it is missing. It may be renamed at any time: the next line begins a new one.

    Raises
    ------
    ConfigError
        It cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._descriptor = self._opened()
        except OSError as error:
            raise ConfigError(
                f"{path}: the audit log cannot be written ({error.strerror}). Choose a file in a folder that "
                "exists and that the server may write, or leave access.audit out."
            ) from error
        # One thread of its own: a slow disk keeps no one waiting but the lines themselves, in their order.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="audit")

    def _opened(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _OWNER_AND_GROUP)

    async def write(self, record: Mapping[str, Any]) -> None:
        """Append one record; returns when it is in the file (or its loss in the server's log)."""
        cut = {key: _cut(value) for key, value in record.items()}
        line = json.dumps(cut, separators=(",", ":"), default=str) + "\n"
        await asyncio.wrap_future(self._writer.submit(self._append, line.encode()))

    def _append(self, line: bytes) -> None:
        try:
            self._reopen_if_renamed()
            written = os.write(self._descriptor, line)
        except OSError as error:
            log.error("an audit line was lost: %s: %s", self._path, error)
            return
        if written < len(line):
            log.error("an audit line was cut: %s: the disk is full", self._path)

    def _reopen_if_renamed(self) -> None:
        mine = os.fstat(self._descriptor)
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino):
            opened = self._opened()
            os.close(self._descriptor)
            self._descriptor = opened

    def close(self) -> None:
        """Write what waits and close the file."""
        self._writer.shutdown()
        os.close(self._descriptor)


def _cut(value: Any) -> Any:
    """Return a value that a line can hold: what a caller chose may be endless."""
    return value[:_LONGEST_VALUE] if isinstance(value, str) else value
