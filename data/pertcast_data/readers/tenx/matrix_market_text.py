"""The text of a Matrix Market file: its header, and its entries a block of lines at a time.

Blocks of plain lines are parsed by Polars; only a block with something odd in it is looked at line by line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from pertcast_data.errors import FormatError
from pertcast_data.tables.content import open_content
from pertcast_data.tables.text_blocks import BLOCK_BYTES
from pertcast_data.text import decode

SIGNATURE: Final = b"%%MatrixMarket"
_FIELDS: Final[dict[str, np.dtype[Any]]] = {
    "integer": np.dtype(np.int32),
    "unsigned-integer": np.dtype(np.int32),
    "real": np.dtype(np.float32),
    "double": np.dtype(np.float32),
    "pattern": np.dtype(np.uint8),
}
_REMEDY: Final = "The file is truncated or edited: copy or write it again."
_Schema: TypeAlias = "dict[str, type[pl.Int64] | type[pl.Float64]]"
_MOST_PACKED: Final = 1032
"""Bytes that one byte of a gzip file can become."""


@dataclass(frozen=True, slots=True)
class MatrixHeader:
    """What the first lines of a Matrix Market file say.

    Attributes
    ----------
    dtype
        int32 ("integer"), float32 ("real") or uint8 ("pattern": an entry is a one).
    n_lines, n_columns
        Shape of the matrix as written.
    n_entries
        Number of entries that follow.
    first_line
        Line of the first entry, from 1.
    has_values
        False for "pattern".
    """

    dtype: np.dtype[Any]
    n_lines: int
    n_columns: int
    n_entries: int
    first_line: int
    has_values: bool


@dataclass(frozen=True, slots=True)
class Entries:
    """Consecutive entries: line and column of the matrix (from 0), and value."""

    lines: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    values: npt.NDArray[Any]


def is_matrix_market(path: Path) -> bool:
    """Return whether a file, packed with gzip or not, starts as Matrix Market does."""
    try:
        with open_content(path) as file:
            return file.read(len(SIGNATURE)).lower() == SIGNATURE.lower()
    except FormatError:
        return False


def read_header(path: Path) -> MatrixHeader:
    """Read the header; raises FormatError for what is no sparse general matrix of real numbers."""
    with open_content(path) as file:
        words = decode(file.readline(1000)).split()
        field = _field(words, path)
        number, line = 2, file.readline(100_000)
        while line.startswith(b"%") or (line and not line.strip()):
            number, line = number + 1, file.readline(100_000)
    try:
        n_lines, n_columns, n_entries = (int(word) for word in line.split())
    except ValueError:
        raise FormatError(
            f"{path}, line {number}: {decode(line).strip()[:80]!r} where rows, columns and entries are due. "
            f"{_REMEDY}"
        ) from None
    header = MatrixHeader(_FIELDS[field], n_lines, n_columns, n_entries, number + 1, field != "pattern")
    _check_sizes(header, path)
    return header


def _field(words: list[str], path: Path) -> str:
    words = [word.lower() for word in words]
    if len(words) != 5 or words[:2] != ["%%matrixmarket", "matrix"]:
        raise FormatError(f"{path}, line 1: {' '.join(words)!r} is no Matrix Market header. {_REMEDY}")
    _, _, storage, field, symmetry = words
    if storage != "coordinate":
        raise FormatError(
            f"{path}: is a Matrix Market file of the kind {storage!r}. Write it as `coordinate` (sparse)."
        )
    if field not in _FIELDS:
        raise FormatError(f"{path}: holds {field} numbers; known: {', '.join(_FIELDS)}. Write it as `real`.")
    if symmetry != "general":
        raise FormatError(
            f"{path}: is {symmetry}, so it is no table of cells and genes. Name the matrix of the profiles."
        )
    return field


def _check_sizes(header: MatrixHeader, path: Path) -> None:
    shape = header.n_lines, header.n_columns
    # An entry takes four bytes at least: "1 1" and the end of the line.
    room = path.stat().st_size * _MOST_PACKED // 4
    if min(*shape, header.n_entries) < 0 or header.n_entries > min(shape[0] * shape[1], room):
        raise FormatError(
            f"{path}, line {header.first_line - 1}: {header.n_entries} entries in {shape[0]} x {shape[1]} do "
            f"not fit the file. {_REMEDY}"
        )


def read_entries(path: Path, header: MatrixHeader) -> Iterator[Entries]:
    """Yield all entries in file order.

    Raises
    ------
    FormatError
        A line holds no entry, an index is out of range, or there are fewer or more entries than declared.
    """
    found, line_number = 0, header.first_line
    with open_content(path) as file:
        for _ in range(header.first_line - 1):
            file.readline()
        while block := file.read(BLOCK_BYTES):
            block += file.readline()
            table, numbers = _parsed(block, header, path, line_number)
            found += table.height
            if found > header.n_entries:
                raise FormatError(
                    f"{path}: has more entries than the {header.n_entries} that line {header.first_line - 1} "
                    f"declares. {_REMEDY}"
                )
            yield _checked(table, numbers, header, path)
            line_number += block.count(b"\n")
    if found != header.n_entries:
        raise FormatError(
            f"{path}, line {line_number}: ends after {found} of {header.n_entries} entries. {_REMEDY}"
        )


def _parsed(
    block: bytes, header: MatrixHeader, path: Path, first_line: int
) -> tuple[pl.DataFrame, npt.NDArray[np.int64]]:
    """Return the entries of a block and the line of each."""
    schema: _Schema = {"line": pl.Int64, "column": pl.Int64}
    if header.has_values:
        schema["value"] = pl.Float64 if header.dtype.kind == "f" else pl.Int64
    table = _split(block, schema)
    if table is None:
        # Tabs, several blanks, blanks at the ends of lines.
        table = _split(
            re.sub(rb"[ \t]+", b" ", re.sub(rb"[ \t\r]*\n[ \t]*", b"\n", block)).strip(b" "), schema
        )
    if table is not None:
        return table, first_line + np.arange(table.height)
    return _line_by_line(block, header, path, first_line, schema)


def _split(block: bytes, schema: _Schema) -> pl.DataFrame | None:
    try:
        table = pl.read_csv(block, separator=" ", has_header=False, schema=schema, quote_char=None)
    except pl.exceptions.PolarsError:
        return None
    return None if any(column.null_count() for column in table) else table


def _line_by_line(
    block: bytes, header: MatrixHeader, path: Path, first_line: int, schema: _Schema
) -> tuple[pl.DataFrame, npt.NDArray[np.int64]]:
    read_value = float if header.dtype.kind == "f" else int
    rows, numbers = [], []
    for number, line in enumerate(block.split(b"\n"), first_line):
        words = line.split()
        if not words or words[0].startswith(b"%"):
            continue
        try:
            if len(words) != len(schema):
                raise ValueError
            rows.append((int(words[0]), int(words[1]), *map(read_value, words[2:])))
        except ValueError:
            what = "row, column and value" if header.has_values else "row and column"
            raise FormatError(
                f"{path}, line {number}: {decode(line).strip()[:80]!r} where {what} ({header.dtype}) are "
                f"due. {_REMEDY}"
            ) from None
        numbers.append(number)
    try:
        return pl.DataFrame(rows, schema=schema, orient="row"), np.array(numbers, np.int64)
    except (pl.exceptions.PolarsError, OverflowError, TypeError) as error:
        raise FormatError(
            f"{path}, lines {first_line} to {number}: a number is too large ({error}). {_REMEDY}"
        ) from None


def _checked(
    table: pl.DataFrame, numbers: npt.NDArray[np.int64], header: MatrixHeader, path: Path
) -> Entries:
    lines, columns = (table[name].to_numpy() - 1 for name in ("line", "column"))
    is_outside = (
        (lines < 0) | (lines >= header.n_lines) | (columns < 0) | (columns >= header.n_columns)
    )  # fmt: skip
    if is_outside.any():
        place = int(np.argmax(is_outside))
        raise FormatError(
            f"{path}, line {numbers[place]}: row {lines[place] + 1}, column {columns[place] + 1} lie outside "
            f"the {header.n_lines} x {header.n_columns} that line {header.first_line - 1} declares. {_REMEDY}"
        )
    if not header.has_values:
        return Entries(lines, columns, np.ones(len(lines), header.dtype))
    values = table["value"].to_numpy()
    if header.dtype.kind == "i" and len(values) and np.abs(values).max() > np.iinfo(header.dtype).max:
        place = int(np.argmax(np.abs(values)))
        raise FormatError(
            f"{path}, line {numbers[place]}: {values[place]} is too large for a count. "
            "Write `real` in line 1."
        )
    return Entries(lines, columns, values.astype(header.dtype))
