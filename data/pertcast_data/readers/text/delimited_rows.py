"""Lines of a text matrix become annotations and numbers, a block of about 16 MiB at a time.

Numbers are parsed as one long column, so a line of a million fields costs no more than a million short ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from pertcast_data.errors import FormatError
from pertcast_data.readers.text.delimited_layout import TextLayout, ragged_error
from pertcast_data.readers.text.fields import MISSING, is_missing, is_number, split_line
from pertcast_data.readers.text.text_content import lies_as_it_is_read, line_blocks, lines_of, open_text
from pertcast_data.text import decode

_MISSING_NUMBER: Final = -666
_MISSING_SPELLINGS: Final = sorted(
    {form(word) for word in MISSING if word for form in (str.lower, str.upper)}
)
_SKIP_BYTES: Final = 1 << 24
_LONG_LINE: Final = 512


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a text matrix where a line begins.

    Attributes
    ----------
    row
        Number of lines of the matrix before it.
    line
        Its number in the file, from 1.
    byte
        Its place in the content.
    """

    row: int
    line: int
    byte: int


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines: where they begin, each line's number in the file, and its bytes."""

    place: Place
    numbers: list[int]
    lines: list[bytes]


def blocks_from(path: Path, layout: TextLayout, place: Place | None = None) -> Iterator[Block]:
    """Yield the lines of a matrix from `place` on (None: all); raises FormatError."""
    head = layout.head
    place = place or Place(0, head.first_line, head.first_byte)
    with open_text(path) as file:
        if lies_as_it_is_read(path):
            file.seek(place.byte)
        else:
            _skip(file, place.byte)
        for text in line_blocks(file, head.ends, path):
            numbers, lines = [], []
            for number, line in lines_of(text, head.ends):
                if not line.startswith(b"!"):
                    numbers.append(place.line + number)
                    lines.append(line)
            yield Block(place, numbers, lines)
            n_ends = text.count(head.ends.mark)
            place = Place(place.row + len(lines), place.line + n_ends, place.byte + len(text))


def _skip(file: object, n_bytes: int) -> None:
    while n_bytes > 0 and (read := file.read(min(n_bytes, _SKIP_BYTES))):  # type: ignore[attr-defined]
        n_bytes -= len(read)


class LineCutter:
    """Cuts lines into the fields of annotations and the fields of numbers.

    Parameters
    ----------
    path
        The file, for messages.
    layout
        How it is laid out.
    """

    def __init__(self, path: Path, layout: TextLayout) -> None:
        columns = layout.columns
        own = () if columns.row_name is None else (columns.row_name,)
        n_names = len(columns.names)
        self._path = path
        self._names = columns.names
        self._separator = layout.head.separator
        self._has_decimal_commas = layout.has_decimal_commas
        self._notes = (*own, *columns.notes_at)
        self._values = columns.values
        are_last = self._values == tuple(range(n_names - len(self._values), n_names))
        self._is_simple = are_last and self._separator != b" "

    def notes(self, block: Block) -> list[list[bytes]]:
        """Return the fields of row names (where lines have them) and annotations, a list a column.

        Raises
        ------
        FormatError
            A line has too few or too many fields.
        """
        rows = [self._note_fields(*each) for each in zip(block.numbers, block.lines, strict=True)]
        return [[row[place] for row in rows] for place in range(len(self._notes))]

    def values(self, block: Block) -> npt.NDArray[np.float32]:
        """Return the numbers of lines that `notes` has checked, (n_lines, n_values); missing ones are NaN.

        Raises
        ------
        FormatError
            A field is no number.
        """
        shape = (len(block.lines), len(self._values))
        parts = [self._value_fields(*each) for each in zip(block.numbers, block.lines, strict=True)]
        text = self._separator.join(parts)
        text = text.replace(b",", b".") if self._has_decimal_commas else text
        values = _parsed(text, self._separator, shape[0] * shape[1])
        if values is None:
            lines = zip(block.numbers, block.lines, strict=True)
            values = np.array([self._parsed_slowly(number, line) for number, line in lines], np.float64)
        with np.errstate(over="ignore"):
            numbers = values.reshape(shape).astype(np.float32)
        numbers[numbers == _MISSING_NUMBER] = np.nan
        return numbers

    def _note_fields(self, number: int, line: bytes) -> list[bytes]:
        if self._is_simple and b'"' not in line:
            width = _count(line, self._separator) + 1
            if width != len(self._names):
                raise ragged_error(self._path, number, width, len(self._names))
            fields = line.split(self._separator, self._values[0])
        else:
            fields = self._fields(number, line)
        return [fields[place] for place in self._notes]

    def _value_fields(self, number: int, line: bytes) -> bytes:
        if self._is_simple and b'"' not in line:
            return line.split(self._separator, self._values[0])[-1]
        fields = self._fields(number, line)
        return self._separator.join([fields[place] for place in self._values])

    def _fields(self, number: int, line: bytes) -> list[bytes]:
        fields = split_line(line, self._separator)
        if len(fields) != len(self._names):
            raise ragged_error(self._path, number, len(fields), len(self._names))
        return fields

    def _parsed_slowly(self, number: int, line: bytes) -> list[float]:
        fields = self._fields(number, line)
        return [self._number(number, place, decode(fields[place])) for place in self._values]

    def _number(self, line: int, place: int, text: str) -> float:
        if is_missing(text):
            return float("nan")
        written = text.replace(",", ".") if self._has_decimal_commas else text
        if is_number(written):
            return float(written)
        shown = text if len(text) <= 40 else f"{text[:40]}..."
        raise FormatError(
            f"{self._path}, line {line}, column {self._names[place]!r}: {shown!r} is no number. Correct the "
            "value, or leave it empty where it is missing."
        )


def _count(line: bytes, separator: bytes) -> int:
    if len(line) < _LONG_LINE:
        return line.count(separator)
    # bytes.count stops at every hit; comparing all bytes is many times faster where hits are dense.
    return int(np.count_nonzero(np.frombuffer(line, np.uint8) == separator[0]))


def _parsed(text: bytes, separator: bytes, n_expected: int) -> npt.NDArray[np.float64] | None:
    """Return numbers with `separator` between them, None where one of them needs a closer look."""
    if n_expected == 0:
        return np.zeros(0)
    try:
        # Each number is a line of one column: what separates fields ends lines.
        column = pl.read_csv(
            text + separator,
            has_header=False,
            schema={"value": pl.Float64},
            separator="\x01",
            eol_char=separator.decode(),
            quote_char=None,
            null_values=_MISSING_SPELLINGS,
        )["value"]
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None
    return column.to_numpy() if len(column) == n_expected else None


def texts(fields: Sequence[bytes]) -> tuple[list[str], bool]:
    """Return fields as text without blanks around them, and whether all of them were UTF-8."""
    try:
        return [field.decode().strip() for field in fields], True
    except UnicodeDecodeError:
        return [decode(field).strip() for field in fields], False
