"""Lines appended to a file whose storage may be away for a while: kept, and written once it is back."""

from __future__ import annotations

import os
from pathlib import Path


class LineFile:
    """Appends whole lines; opened anew for each write, so that a folder may go away and come back.

    Parameters
    ----------
    path
        The file; its folder is not made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting: list[str] = []

    def add(self, line: str) -> bool:
        """Write a line and those that wait; False where the storage does not take them now."""
        self._waiting.append(line)
        return self.flush()

    def flush(self) -> bool:
        """Write the lines that wait; False where the storage does not take them now. Never raises OSError."""
        if not self._waiting:
            return True
        try:
            _append(self.path, "".join(f"{line}\n" for line in self._waiting).encode())
        except OSError:
            return False
        self._waiting.clear()
        return True


def _append(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(handle).st_size
        # A line that a kill cut short stays one line of its own.
        if size and os.pread(handle, 1, size - 1) != b"\n":
            content = b"\n" + content
        try:
            while content:
                content = content[os.write(handle, content) :]
        except OSError:
            os.ftruncate(handle, size)
            raise
    finally:
        os.close(handle)
