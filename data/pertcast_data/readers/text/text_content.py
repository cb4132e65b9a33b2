"""Text of any packing as a stream of bytes, and whole lines of it a block at a time.

gzip, bzip2 and xz are unpacked on the way and UTF-16 becomes UTF-8; whatever is wrong is a FormatError.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pertcast_data.errors import FormatError
from pertcast_data.tables.content import open_content

BLOCK_BYTES: Final = 1 << 24
_LONGEST_LINE: Final = 1 << 30
_GZIP, _BZIP2, _XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
UTF_8_MARK: Final = b"\xef\xbb\xbf"


@contextmanager
def open_text(path: Path) -> Iterator[io.BufferedIOBase]:
    """Open the bytes of a text file, unpacked (gzip, bzip2, xz) and as UTF-8 where it is UTF-16.

    Raises
    ------
    FormatError
        The file is absent, cannot be read, or its packing is broken.
    """
    try:
        with path.open("rb") as file:
            start = file.read(6)
            if start.startswith((_BZIP2, _XZ)):
                file.seek(0)
                with bz2.open(file) if start.startswith(_BZIP2) else lzma.open(file) as unpacked:
                    yield unpacked
                return
        with open_content(path) as content:
            yield content
    except (EOFError, lzma.LZMAError, zlib.error, OSError) as error:
        raise FormatError(
            f"{path}: cannot be read ({error}). It is truncated, damaged or locked: check its rights, or "
            "copy it again."
        ) from error


def lies_as_it_is_read(path: Path) -> bool:
    """Return whether places in the file are places in the text: neither packed nor UTF-16."""
    with path.open("rb") as file:
        return not file.read(6).startswith((_GZIP, _BZIP2, _XZ, *_UTF_16))


@dataclass(frozen=True, slots=True)
class LineEnds:
    r"""How lines end.

    Attributes
    ----------
    mark
        "\n", or "\r" in files of old Macs.
    joins_quotes
        Whether a value in quotes may hold line ends.
    """

    mark: bytes = b"\n"
    joins_quotes: bool = False


def line_blocks(file: io.BufferedIOBase, ends: LineEnds, path: Path) -> Iterator[bytes]:
    """Yield whole lines, about 16 MiB at a time; raises FormatError for NUL bytes and endless lines."""
    rest = b""
    while read := file.read(BLOCK_BYTES):
        if b"\0" in read:
            raise FormatError(
                f"{path}: holds NUL bytes, so it is no text or damaged. Copy it again, or save it as UTF-8."
            )
        data = rest + read
        cut = _last_end(data, ends)
        if cut:
            yield data[:cut]
        rest = data[cut:]
        if len(rest) > _LONGEST_LINE:
            raise FormatError(
                f"{path}: has a line of over 1 GiB (a quote that never ends?). Correct the file."
            )
    if rest:
        yield rest


def _last_end(data: bytes, ends: LineEnds) -> int:
    """Return the place behind the last line that ends, 0 where none does."""
    cut = data.rfind(ends.mark) + 1
    is_open = ends.joins_quotes and b'"' in data and data.count(b'"', 0, cut) % 2 == 1
    while cut and is_open:
        previous = data.rfind(ends.mark, 0, cut - 1) + 1
        is_open ^= data.count(b'"', previous, cut) % 2 == 1
        cut = previous
    return cut


def lines_of(block: bytes, ends: LineEnds) -> Iterator[tuple[int, bytes]]:
    """Yield place (from 0) and text of the lines of a block, without their ends; blank lines are left out."""
    if not (ends.joins_quotes and b'"' in block):
        for place, line in enumerate(block.split(ends.mark)):
            if line and not line.isspace():
                yield place, line.removesuffix(b"\r")
        return
    start, waiting, is_open = 0, b"", False
    for place, line in enumerate(block.split(ends.mark)):
        waiting = waiting + ends.mark + line if is_open else line
        start = start if is_open else place
        is_open ^= line.count(b'"') % 2 == 1
        if not is_open and waiting.strip():
            yield start, waiting.removesuffix(b"\r")
    if is_open and waiting.strip():
        yield start, waiting
