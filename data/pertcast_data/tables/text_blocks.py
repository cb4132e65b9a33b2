"""Text of any size, packed with gzip or not, UTF-8 or UTF-16: a block of whole lines at a time.

The one way in which text tables are opened: a gigabyte is read in the memory of one block, each block a frame
of text. What a line holds is decided by the readers; tables with a header are `pertcast_data.tables`.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import polars as pl

from pertcast_data.errors import FormatError

BLOCK_BYTES: Final = 1 << 25
_START_BYTES: Final = 65536
_LAST_HEAD_LINE: Final = 1000
_PACKED: Final = (b"PK\x03\x04", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf")
_GZIP: Final = b"\x1f\x8b"
PARQUET: Final = b"PAR1"
ARROW: Final = b"ARROW1"
_UTF_8_MARK: Final = b"\xef\xbb\xbf"
_UTF_16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_LONGEST_QUOTED: Final = 1 << 20
"""Bytes of a value in quotes that may hold line ends; a quote that stands alone ends no block later."""


@dataclass(frozen=True, slots=True)
class TextLayout:
    """How a text table is laid out.

    Attributes
    ----------
    names
        Of its columns; None where it names none.
    separator
        One character; None: runs of blanks.
    width
        Number of columns.
    n_skipped
        Lines before the first row.
    comment
        What a line begins with that is no row; None: every line is a row.
    is_quoted
        Whether values may stand in quotes; None: where commas or semicolons separate them.
    """

    names: list[str] | None
    separator: str | None
    width: int
    n_skipped: int
    comment: str | None = "#"
    is_quoted: bool | None = None

    @property
    def has_quotes(self) -> bool:
        """Whether values may stand in quotes."""
        return self.separator in (",", ";") if self.is_quoted is None else self.is_quoted


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


def fields_of(line: str, separator: str | None) -> list[str]:
    """Return the values of a line, without blanks and quotes around them."""
    return [field.strip().strip('"') for field in line.split(separator)]


def require_text(path: Path, names: Iterable[str]) -> None:
    """Raise FormatError where a name held bytes that are no UTF-8."""
    broken = next((name for name in names if "\ufffd" in name), None)
    if broken is not None:
        raise FormatError(f"{path}: is not UTF-8 text (see {broken!r}). Convert it: iconv -t UTF-8 FILE.")


def unique_names(names: list[str]) -> list[str]:
    """Return names of columns of which none is empty or stands there twice."""
    return [
        name if name and name not in names[:place] else f"{name}_{place + 1}"
        for place, name in enumerate(names)
    ]


def read_parquet(path: Path, columns: list[str] | None = None) -> pl.DataFrame:
    """Read a Parquet file, packed with gzip or not; raises FormatError where it cannot be read."""
    try:
        with open_content(path) as file:
            return pl.read_parquet(io.BytesIO(file.read()), columns=columns)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise FormatError(f"{path}: cannot be read as Parquet ({error}). Write it anew.") from error


def table_blocks(path: Path, layout: TextLayout) -> Iterator[pl.DataFrame]:
    r"""Yield the rows of a table in order, as text, null where a value is missing; blank lines are left out.

    Bytes that are no UTF-8 become "\ufffd": they matter only where a reader uses the column. Empty values
    after the last column (an export with separators to spare) are left out.

    Raises
    ------
    FormatError
        A line has more values than the first row (file, line and counts are named).
    """
    for block in line_blocks(path, layout):
        frame = parsed_block(path, layout, block)
        has_gaps = all(column.null_count() for column in frame)
        yield frame.filter(~pl.all_horizontal(pl.all().is_null())) if has_gaps else frame


def line_blocks(path: Path, layout: TextLayout, most_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Yield whole lines, about `BLOCK_BYTES` or `most_bytes` at a time, after those that the layout skips."""
    size = min(BLOCK_BYTES, most_bytes)
    with open_content(path) as file:
        for _ in range(layout.n_skipped):
            file.readline()
        is_first = layout.n_skipped == 0
        while block := file.read(size):
            block += file.readline()
            if layout.has_quotes:
                block += _rest_of_value(file, block)
            yield block.removeprefix(_UTF_8_MARK) if is_first else block
            is_first = False


def _rest_of_value(file: io.BufferedIOBase, block: bytes) -> bytes:
    """Return the lines that a value in quotes goes on for, where the block ends within one."""
    rest = b""
    is_open = block.count(b'"') % 2 == 1
    while is_open and len(rest) < _LONGEST_QUOTED and (line := file.readline()):
        rest += line
        is_open ^= line.count(b'"') % 2 == 1
    return rest


def parsed_block(path: Path, layout: TextLayout, block: bytes) -> pl.DataFrame:
    """Return the lines of a block as a frame of text; raises FormatError where one has too many values."""
    names = layout.names or [f"column_{place + 1}" for place in range(layout.width)]
    block = block.lstrip(b"\r\n")  # Polars takes a blank first line for a row of one value
    if not block:
        return pl.DataFrame(schema=dict.fromkeys(names, pl.String))
    try:
        return _parsed(block, layout, names)
    except (pl.exceptions.PolarsError, FormatError) as error:
        trimmed = _without_spare_separators(block, layout)
        if trimmed is None:
            raise _unreadable(path, layout, error) from error
        try:
            return _parsed(trimmed, layout, names)
        except (pl.exceptions.PolarsError, FormatError):
            raise _unreadable(path, layout, error) from error


def _without_spare_separators(block: bytes, layout: TextLayout) -> bytes | None:
    """Return the block without empty values after the last column; None where others stand there."""
    if layout.separator is None:
        return None
    written = io.StringIO()
    marks = {"delimiter": layout.separator, "lineterminator": "\n"}
    writer = csv.writer(written, **marks) if layout.has_quotes else None  # type: ignore[arg-type]
    for values in split_lines(block.decode("utf-8", errors="replace"), layout):
        if any(value.strip() for value in values[layout.width :]):
            return None
        kept = values[: layout.width]
        if writer is not None:
            writer.writerow(kept)
        else:
            written.write(layout.separator.join(kept) + "\n")
    return written.getvalue().encode()


def split_lines(text: str, layout: TextLayout) -> Iterator[list[str]]:
    """Yield the values of each line, those in quotes without them; only for layouts with a separator."""
    separator = str(layout.separator)
    if layout.has_quotes:
        yield from csv.reader(io.StringIO(text), delimiter=separator)
        return
    for line in text.split("\n"):
        if line.rstrip("\r"):
            yield line.rstrip("\r").split(separator)


def _parsed(block: bytes, layout: TextLayout, names: list[str]) -> pl.DataFrame:
    if layout.separator is not None:
        return _separated(block, layout, layout.separator, names)
    try:
        frame = _separated(block, layout, " ", names)
    except pl.exceptions.PolarsError:
        return _split_at_blanks(block, layout, names)
    # Two blanks, or one before the first value, leave an empty one: then the slower way is the right one.
    has_gaps = any(column.null_count() for column in frame)
    return _split_at_blanks(block, layout, names) if has_gaps else frame


def _separated(block: bytes, layout: TextLayout, separator: str, names: list[str]) -> pl.DataFrame:
    # All columns are read: with some of them only, Polars takes lines with too many values.
    return pl.read_csv(
        block,
        separator=separator,
        has_header=False,
        schema=dict.fromkeys(names, pl.String),
        comment_prefix=layout.comment,
        missing_columns="insert",
        quote_char='"' if layout.has_quotes else None,
        encoding="utf8-lossy",
    )


def _split_at_blanks(block: bytes, layout: TextLayout, names: list[str]) -> pl.DataFrame:
    # "\x01" stands in no text: a line is then one value.
    lines = _separated(block, layout, "\x01", names[:1]).to_series()
    parts = lines.str.strip_chars().str.replace_all(r"\s+", "\t").str.split("\t")
    if (parts.list.len() > layout.width).any():
        raise FormatError("a line has too many values")
    return parts.list.to_struct(fields=names).struct.unnest()


def _unreadable(path: Path, layout: TextLayout, error: Exception) -> FormatError:
    """Return the error that names the first line with more values than the first row."""
    remedy = "Write the same number of columns in every line."
    n_rows = 0
    with open_content(path) as file:
        for number, line in enumerate(file, 1):
            text = line.decode("utf-8", errors="replace")
            is_comment = layout.comment is not None and text.startswith(layout.comment)
            if number <= layout.n_skipped or not text.strip() or is_comment:
                continue
            n_rows += 1
            count = len(fields_of(text, layout.separator))
            if count > layout.width:
                place = f"row {n_rows}" if layout.separator is None else f"line {number}"
                return FormatError(
                    f"{path}, {place}: {count} values, the first row has {layout.width}. {remedy}"
                )
    return FormatError(f"{path}: cannot be read as a table ({error}). {remedy}")
