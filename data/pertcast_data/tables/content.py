"""The bytes of a file, unpacked where it is gzip and as UTF-8 where it is UTF-16: what every reader opens."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

import polars as pl

from pertcast_data.errors import FormatError

PARQUET: Final = b"PAR1"
ARROW: Final = b"ARROW1"
_START_BYTES: Final = 65536
_LAST_HEAD_LINE: Final = 1000
_PACKED: Final = (b"PK\x03\x04", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf")
_GZIP: Final = b"\x1f\x8b"
_UTF_16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")


@contextmanager
def open_content(path: Path) -> Iterator[io.BufferedIOBase]:
    """Open the bytes of a file, unpacked where it is gzip and as UTF-8 where it is UTF-16.

    Raises FormatError where the file is absent, breaks off, or is no whole UTF-16.
    """
    if not path.is_file():
        raise FormatError(f"{path}: no such file. Check the path.")
    with path.open("rb") as file:
        is_packed = file.read(2) == _GZIP
        file.seek(0)
        try:
            if is_packed:
                with gzip.open(file) as unpacked:
                    yield _as_utf_8(io.BufferedReader(unpacked))  # type: ignore[type-var]
            else:
                yield _as_utf_8(file)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise FormatError(
                f"{path}: is packed with gzip and broken ({error}). Test it with gunzip -t, or fetch it anew."
            ) from error
        except UnicodeDecodeError as error:
            raise FormatError(
                f"{path}: begins as UTF-16 and breaks off ({error.reason}). Save it as UTF-8."
            ) from error


def _as_utf_8(file: io.BufferedReader) -> io.BufferedIOBase:
    is_utf_16 = file.peek(2)[:2] in _UTF_16_MARKS
    return io.BufferedReader(_Recoded(file)) if is_utf_16 else file


class _Recoded(io.RawIOBase):
    """The bytes of a UTF-16 file as UTF-8, some at a time."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-16")()
        self._waiting = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._waiting:
            read = self._file.read(_START_BYTES)
            self._waiting = self._decoder.decode(read, final=not read).encode()
            if not read and not self._waiting:
                return 0
        taken = self._waiting[: len(buffer)]
        buffer[: len(taken)] = taken
        self._waiting = self._waiting[len(taken) :]
        return len(taken)


def content_start(path: Path) -> bytes:
    """Return the first bytes of a file, unpacked; raises FormatError for archives that are not read."""
    with open_content(path) as file:
        start = file.read(_START_BYTES)
    if start.startswith(_PACKED):
        raise FormatError(f"{path}: is packed. Unpack it first (unzip FILE); only gzip is read as it is.")
    if not start.startswith((PARQUET, ARROW)) and b"\0" in start:
        raise FormatError(f"{path}: is neither text nor Parquet. Bring a table: csv, tsv or Parquet.")
    return start


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of the file's bytes as they lie, packed or not."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def head_lines(path: Path) -> list[str]:
    """Return the first thousand lines without their ends; bytes that are no UTF-8 are replaced."""
    with open_content(path) as file:
        return [
            line.decode("utf-8-sig" if place == 0 else "utf-8", errors="replace").rstrip("\r\n")
            for place, line in enumerate(islice(file, _LAST_HEAD_LINE))
        ]


def read_parquet(path: Path, columns: list[str] | None = None) -> pl.DataFrame:
    """Read a Parquet file, packed with gzip or not; raises FormatError where it cannot be read."""
    try:
        with open_content(path) as file:
            return pl.read_parquet(io.BytesIO(file.read()), columns=columns)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise FormatError(f"{path}: cannot be read as Parquet ({error}). Write it anew.") from error
