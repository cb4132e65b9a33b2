"""Files that grow at their end while their storage may be away: what cannot be written is kept for later."""

from __future__ import annotations

import os
from pathlib import Path


class PatientFile:
    """Appends bytes; opened anew each time, so that its folder may go away and come back.

    Parameters
    ----------
    path
        The file; its folder is not made: where that is missing, the storage is away.
    """

    _separator = b""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting = b""

    def add(self, content: bytes) -> bool:
        """Append what waits, then `content`; False where the storage takes neither now. No OSError comes."""
        self._waiting += content
        try:
            _append(self.path, self._waiting, self._separator)
        except OSError:
            return False
        self._waiting = b""
        return True


class LineFile(PatientFile):
    """Appends whole lines; one that a kill cut short stays a line of its own."""

    _separator = b"\n"

    def add_line(self, line: str) -> bool:
        """Append the lines that wait, then this one; False where the storage does not take them now."""
        return self.add(line.encode() + self._separator)


def _append(path: Path, content: bytes, separator: bytes) -> None:
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(handle).st_size
        if separator and size and os.pread(handle, 1, size - 1) != separator:
            content = separator + content
        try:
            while content:
                content = content[os.write(handle, content) :]
        except OSError:
            os.ftruncate(handle, size)
            raise
    finally:
        os.close(handle)
