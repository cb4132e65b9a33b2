"""How a text matrix is laid out, told from its first lines: header, separator, decimal sign, columns.

What cannot be told is refused with the line to write; nothing is read as numbers on a guess.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pertcast_data.errors import FormatError
from pertcast_data.readers.column_roles import Orientation
from pertcast_data.readers.text.delimited_columns import Columns, settle_columns
from pertcast_data.readers.text.fields import is_missing, is_number, split_line
from pertcast_data.readers.text.text_content import UTF_8_MARK, LineEnds, open_text
from pertcast_data.text import decode

_SEPARATORS: Final = (b"\t", b";", b",", b"|", b" ")
_SAMPLE_LINES: Final = 64
_SAMPLE_BYTES: Final = 1 << 22
_LONGEST_HEADER: Final = 1 << 28
_SERIES_START: Final = b"!series_matrix_table_begin"
_OTHER_TEXT: Final = (b"%", b"{", b"[", b"<", b"#1.2", b"#1.3")
_MOST_CONTROLS: Final = 8
_DECIMAL_COMMA: Final = re.compile(r"[-+]?\d+,\d+([eE][-+]?\d+)?")
_THOUSANDS: Final = re.compile(r"[-+]?[1-9]\d{0,2},\d{3}")


@dataclass(frozen=True, slots=True)
class Head:
    """The first lines of a text table, before anything is made of them.

    Attributes
    ----------
    comments
        Lines before the header.
    names
        Fields of the header; one fewer than those of a line in R's write.table.
    rows, row_lines
        Fields of some lines after it, and the lines' numbers.
    separator, ends
        Between fields and at the end of lines.
    first_line, first_byte
        Number (from 1) of the line after the header, and its place in the content.
    """

    comments: tuple[bytes, ...]
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    row_lines: tuple[int, ...]
    separator: bytes
    ends: LineEnds
    first_line: int
    first_byte: int

    @property
    def is_series(self) -> bool:
        """Whether it is a GEO series matrix."""
        return any(line.lower().startswith(_SERIES_START) for line in self.comments)

    @property
    def full_names(self) -> tuple[str, ...]:
        """Names of all columns: "" first where the header is one field shorter than the lines."""
        is_short = len(self.rows[0]) == len(self.names) + 1
        return ("", *self.names) if is_short else self.names


@dataclass(frozen=True, slots=True)
class TextLayout:
    """How the lines of a text matrix are read.

    Attributes
    ----------
    head
        Its first lines.
    columns
        What each column is.
    has_decimal_commas
        Whether "1,5" is one and a half.
    """

    head: Head
    columns: Columns
    has_decimal_commas: bool

    @property
    def notes(self) -> tuple[str, ...]:
        """What was decided, in words."""
        commas = ("numbers are written with decimal commas",) if self.has_decimal_commas else ()
        return (*self.columns.told, *commas)


def read_layout(
    path: Path, orientation: Orientation | None, annotations: Sequence[str] | None = None
) -> TextLayout:
    """Settle how a text matrix is laid out.

    Parameters
    ----------
    path
        The file.
    orientation
        What its lines are, where the caller knows.
    annotations
        Columns that annotate the lines, beside those whose names tell it.

    Raises
    ------
    FormatError
        It is no table, has no header or no numbers, or its orientation cannot be told.
    """
    head = read_head(path)
    if head is None:
        raise FormatError(
            f"{path}: is no text table with a header, two or more columns and a line of values. Bring csv, "
            "tsv or another format."
        )
    _require_table(path, head)
    has_commas = _has_decimal_commas(path, head)
    rows = [[_with_point(field) for field in row] for row in head.rows] if has_commas else head.rows
    columns = settle_columns(path, head.full_names, rows, orientation, annotations, is_series=head.is_series)
    return TextLayout(head, columns, has_commas)


def read_head(path: Path) -> Head | None:
    """Return the first lines of a text table, None where the content is none; raises FormatError."""
    with open_text(path) as file:
        start = file.read(_SAMPLE_BYTES)
        if not _may_be_table(start):
            return None
        mark = b"\n" if b"\n" in start or b"\r" not in start else b"\r"
        start += _rest_of_lines(file, start, mark)
        is_all = not file.read(1)
    offset = len(UTF_8_MARK) if start.startswith(UTF_8_MARK) else 0
    return _head_of(start[offset:], mark, offset, is_all)


def _may_be_table(start: bytes) -> bool:
    text = start.removeprefix(UTF_8_MARK).lstrip()
    if not text or b"\0" in start or text.startswith(_OTHER_TEXT):
        return False
    controls = sum(start[:4096].count(bytes([code])) for code in (*range(1, 9), *range(14, 32)))
    return controls <= _MOST_CONTROLS


def _rest_of_lines(file: io.BufferedIOBase, start: bytes, mark: bytes) -> bytes:
    """Return what of the file is needed to have two lines after the comments, if they are that long."""
    parts: list[bytes] = []
    n_ends = start.count(mark)
    while n_ends < 2 and sum(map(len, parts)) < _LONGEST_HEADER and (read := file.read(_SAMPLE_BYTES)):
        parts.append(read)
        n_ends += read.count(mark)
    return b"".join(parts)


def _head_of(text: bytes, mark: bytes, offset: int, is_all: bool) -> Head | None:
    lines = text.split(mark)
    lines = lines if is_all else lines[:-1]
    place = next((number for number, line in enumerate(lines) if not _is_comment(line)), None)
    if place is None:
        return None
    comments = [line.removesuffix(b"\r") for line in lines[:place] if line.strip()]
    header = lines[place].removesuffix(b"\r")
    numbered = [
        (number, line.removesuffix(b"\r"))
        for number, line in enumerate(lines[place + 1 : place + 2 + 2 * _SAMPLE_LINES], start=place + 2)
        if line.strip() and not line.startswith(b"!")
    ][:_SAMPLE_LINES]
    separator = _separator(header, [line for _, line in numbered])
    if separator is None:
        return None
    ends = LineEnds(mark, joins_quotes=separator in (b",", b";"))
    if ends.joins_quotes:
        numbered = _joined(numbered, mark, is_all)
    if not numbered:
        return None
    first_byte = offset + sum(len(line) + 1 for line in lines[: place + 1])
    head = Head(
        comments=tuple(comments),
        names=_texts(header, separator),
        rows=tuple(_texts(line, separator) for _, line in numbered),
        row_lines=tuple(number for number, _ in numbered),
        separator=separator,
        ends=ends,
        first_line=place + 2,
        first_byte=first_byte,
    )
    return _with_commented_header(head, first_byte - len(lines[place]) - 1)


def _with_commented_header(head: Head, header_byte: int) -> Head:
    """Take "#id<TAB>s1<TAB>s2" for the header where the line after it holds numbers."""
    if not head.comments or not head.comments[-1].startswith(b"#"):
        return head
    names = _texts(head.comments[-1].lstrip(b"#"), head.separator)
    if len(names) != len(head.names) or any(map(is_number, names)) or not any(map(is_number, head.names)):
        return head
    return replace(
        head,
        comments=head.comments[:-1],
        names=names,
        rows=(head.names, *head.rows),
        row_lines=(head.first_line - 1, *head.row_lines),
        first_line=head.first_line - 1,
        first_byte=header_byte,
    )


def _is_comment(line: bytes) -> bool:
    return not line.strip() or line.startswith((b"#", b"!"))


def _joined(lines: Sequence[tuple[int, bytes]], mark: bytes, is_all: bool) -> list[tuple[int, bytes]]:
    joined: list[tuple[int, bytes]] = []
    is_open = False
    for number, line in lines:
        if is_open:
            joined[-1] = joined[-1][0], joined[-1][1] + mark + line
        else:
            joined.append((number, line))
        is_open ^= line.count(b'"') % 2 == 1
    return joined[:-1] if is_open and not is_all else joined


def _texts(line: bytes, separator: bytes) -> tuple[str, ...]:
    return tuple(decode(field).strip() for field in split_line(line, separator))


def _separator(header: bytes, lines: Sequence[bytes]) -> bytes | None:
    """Return the separator by which most lines have as many fields as the header, or one more."""
    best, best_fit = None, (0.0, False, 0)
    for mark in _SEPARATORS:
        width = len(split_line(header, mark))
        widths = [len(split_line(line, mark)) for line in lines]
        n_fitting = sum(found >= 2 and found - width in (0, 1) for found in widths)
        # Blanks come last: they stand in names. Where lines are ragged the header's own width tells.
        fit = (round(n_fitting / max(1, len(lines)), 1), mark != b" ", width)
        if width >= 2 or n_fitting:
            best, best_fit = (mark, fit) if fit > best_fit else (best, best_fit)
    return best


def _are_numbers(fields: Sequence[str]) -> bool:
    return bool(fields) and all(is_number(field) or is_missing(field) for field in fields)


def _require_table(path: Path, head: Head) -> None:
    names = head.full_names
    for line, row in zip(head.row_lines, head.rows, strict=True):
        if len(row) != len(names):
            raise ragged_error(path, line, len(row), len(names))
    numbers = [float(name) for name in names[1:] if is_number(name)]
    are_whole = all(number >= 0 and number.is_integer() for number in numbers)
    are_ids = are_whole and (len(set(numbers)) == len(numbers) or not _are_numbers(names[1:]))
    if not are_ids:
        raise FormatError(
            f"{path}, line {head.first_line - 1}: holds numbers where the header should be. Write the names "
            "of the columns into the first line."
        )


def ragged_error(path: Path, line: int, found: int, expected: int) -> FormatError:
    """Return the error for a line with too few or too many fields."""
    return FormatError(
        f"{path}, line {line}: {found:,} fields where {expected:,} are expected. The file is truncated or "
        "edited: copy or write it again, with as many fields in every line."
    )


def _has_decimal_commas(path: Path, head: Head) -> bool:
    if head.separator == b",":
        return False
    fields = [field for row in head.rows for field in row[1:]]
    with_comma = [field for field in fields if _DECIMAL_COMMA.fullmatch(field)]
    if not with_comma or any("." in field and is_number(field) for field in fields):
        return False
    if all(_THOUSANDS.fullmatch(field) for field in with_comma):
        raise FormatError(
            f"{path}: {with_comma[0]!r} may be a decimal or thousands. Write numbers with a decimal point."
        )
    return True


def _with_point(field: str) -> str:
    return field.replace(",", ".") if _DECIMAL_COMMA.fullmatch(field) else field
