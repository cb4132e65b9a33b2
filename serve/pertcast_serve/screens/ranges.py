"""Parts of files by HTTP Range and If-Range (RFC 9110, section 14): one part, or the whole file."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ONE_RANGE: Final = re.compile(r"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.ASCII | re.IGNORECASE)
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of a file.

    Attributes
    ----------
    start, stop
        First byte, and the one after the last.
    is_whole
        Whether the whole file is meant, and none of its parts.
    """

    start: int
    stop: int
    is_whole: bool


def wanted_part(header: str | None, size: int) -> Part | None:
    """Return the part of a file of `size` bytes that a Range header asks for.

    What is no single range of bytes is ignored, as the standard allows: the whole file answers it.

    Returns
    -------
    Part or None
        None where the range lies outside of the file (416).
    """
    whole = Part(0, size, is_whole=True)
    found = None if header is None else _ONE_RANGE.fullmatch(header)
    if found is None:
        return whole
    first, last = found.groups()
    if not first and not last:
        return whole
    if not first:
        length = min(int(last), size)
        return Part(size - length, size, is_whole=False) if length else None
    start, stop = int(first), min(int(last) + 1, size) if last else size
    if last and int(last) < start:
        return whole
    return Part(start, stop, is_whole=False) if start < size else None


async def file_bytes(path: Path, part: Part) -> AsyncIterator[bytes]:
    """Yield a part of a file in pieces that are read in threads."""
    file = await asyncio.to_thread(path.open, "rb")
    try:
        await asyncio.to_thread(file.seek, part.start)
        left = part.stop - part.start
        while left > 0:
            piece = await asyncio.to_thread(file.read, min(_CHUNK, left))
            if not piece:
                raise OSError(f"{path} became shorter while it was read")
            left -= len(piece)
            yield piece
    finally:
        file.close()
