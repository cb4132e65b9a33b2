"""Text tables of any size: a block of whole lines at a time, each block a frame of text.

A gigabyte is read in the memory of one block. What a line holds is decided by the readers; tables with a
header are `pertcast_data.tables.table`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from pertcast_data.errors import FormatError
from pertcast_data.tables.content import open_content

BLOCK_BYTES: Final = 1 << 25
_UTF_8_MARK: Final = b"\xef\xbb\xbf"
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
    seen: set[str] = set()
    unique = []
    for place, name in enumerate(names):
        unique.append(name if name and name not in seen else f"{name}_{place + 1}")
        seen.add(name)
    return unique


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
