"""Text matrices: csv, tsv, semicolons, blanks; plain or packed; lines are profiles, or lines are genes.

Lines of profiles are parsed a block at a time; lines of genes are turned through a temporary file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import polars as pl

from pertcast_data.errors import ConfigError, FormatError
from pertcast_data.readers.column_roles import Orientation
from pertcast_data.readers.source import (
    ProfileBatch,
    SourceSchema,
    id_frame,
    refuse_choice,
    row_range,
    rows_per_batch,
)
from pertcast_data.readers.text.delimited_layout import Head, read_head, read_layout
from pertcast_data.readers.text.delimited_rows import LineCutter, Place, blocks_from, texts
from pertcast_data.readers.text.fields import is_missing, is_number, typed_column
from pertcast_data.readers.text.series_matrix import sample_columns
from pertcast_data.readers.text.text_content import lies_as_it_is_read
from pertcast_data.readers.text.turned import TurnedMatrix


@dataclass(frozen=True, slots=True)
class _Lines:
    """What is known of all lines: their names, their annotations, and where blocks of them begin."""

    names: list[str]
    notes: dict[str, pl.Series]
    places: list[Place]
    is_utf_8: bool


class DelimitedSource:
    """Profiles of one text matrix, as float32; whole numbers are exact up to 2**24.

    Parameters
    ----------
    path
        csv, tsv or other separated text: plain, gzip, bzip2 or xz; UTF-8, UTF-16 (with its mark) or Latin-1.
    matrix
        None: a text file holds one matrix.
    orientation
        "profiles" where a line is a profile, "genes" where a line is a gene; None: told by the names.

    annotation_columns
        Columns of numbers that annotate the lines, beside those whose names tell it; all others are the
        matrix then. None: told by names alone.

    Raises
    ------
    FormatError
        It is no matrix with a header, it cannot be told what its lines are, or it has no such column.
    ConfigError
        `orientation` is something else.
    """

    def __init__(
        self,
        path: Path,
        matrix: str | None = None,
        *,
        orientation: Orientation | None = None,
        annotation_columns: tuple[str, ...] | None = None,
    ) -> None:
        refuse_choice(path, matrix, "text")
        if orientation is not None and orientation not in get_args(Orientation):
            raise ConfigError(
                f"orientation is {orientation!r}. Say profiles or genes: what a line of the file is."
            )
        self.path = path
        self._layout = read_layout(path, orientation, annotation_columns)
        self._cutter = LineCutter(path, self._layout)
        self._lines: _Lines | None = None
        self._turned: TurnedMatrix | None = None

    @staticmethod
    def detects(path: Path) -> bool:
        """Return whether the file is text in two or more even columns (or broken gzip)."""
        if not path.is_file():
            return False
        try:
            head = read_head(path)
        except FormatError:
            return True
        return head is not None and _is_table(head)

    def schema(self) -> SourceSchema:
        """Return the shape; the file's lines are counted (and checked for their number of fields) first."""
        lines = self._all_lines()
        columns = self._layout.columns
        n_lines, n_columns = len(lines.names), len(columns.values)
        is_by_profile = columns.orientation == "profiles"
        latin = () if lines.is_utf_8 else ("text that is not UTF-8 was read as Latin-1",)
        return SourceSchema(
            self.path,
            "delimited",
            n_lines if is_by_profile else n_columns,
            n_columns if is_by_profile else n_lines,
            "dense",
            "text",
            notes=(*self._layout.notes, *latin),
            is_splittable=is_by_profile and lies_as_it_is_read(self.path),
        )

    def obs(self) -> pl.DataFrame:
        """Return the annotation columns of profiles, or what a GEO series matrix tells of its samples."""
        if self._layout.columns.orientation == "profiles":
            return self._line_table()
        head, names = self._layout.head, self._column_names()
        return id_frame(names, sample_columns(head.comments, len(names)) if head.is_series else {})

    def var(self) -> pl.DataFrame:
        """Return the genes' names, and the annotation columns where lines are genes."""
        if self._layout.columns.orientation == "genes":
            return self._line_table()
        return id_frame(self._column_names(), {})

    def batches(
        self, rows: int | None = None, start: int = 0, stop: int | None = None
    ) -> Iterator[ProfileBatch]:
        """Yield the profiles `start` to `stop` (None: the last) as float32; missing values are NaN."""
        schema = self.schema()
        first_row, last = row_range(schema.n_rows, start, stop)
        step = rows or rows_per_batch(schema.n_genes)
        if self._layout.columns.orientation == "profiles":
            yield from _regrouped(self._profiles(first_row, last), step)
            return
        turned = self._turned_matrix(schema.n_rows)
        for first in range(first_row, last, step):
            yield turned.profiles(first, min(first + step, last))

    def _column_names(self) -> list[str]:
        columns = self._layout.columns
        return [columns.names[place] for place in columns.values]

    def _line_table(self) -> pl.DataFrame:
        lines = self._all_lines()
        return id_frame(lines.names, lines.notes)

    def _all_lines(self) -> _Lines:
        if self._lines is None:
            self._lines = self._read_lines()
        return self._lines

    def _read_lines(self) -> _Lines:
        columns = self._layout.columns
        has_names = columns.row_name is not None
        fields: list[list[str]] = [[] for _ in range(has_names + len(columns.notes_at))]
        places, is_utf_8, n_lines = [], True, 0
        for block in blocks_from(self.path, self._layout):
            places.append(block.place)
            n_lines += len(block.lines)
            for column, raw in zip(fields, self._cutter.notes(block), strict=True):
                decoded, is_clean = texts(raw)
                column += decoded
                is_utf_8 = is_utf_8 and is_clean
        if not n_lines:
            raise FormatError(f"{self.path}: has a header and no lines. Copy it again.")
        names = fields.pop(0) if has_names else [str(number) for number in range(n_lines)]
        notes = {
            columns.names[place]: typed_column(column)
            for place, column in zip(columns.notes_at, fields, strict=True)
        }
        return _Lines(names, notes, places, is_utf_8)

    def _profiles(self, start: int, stop: int) -> Iterator[npt.NDArray[np.float32]]:
        places = [place for place in self._all_lines().places if place.row <= start]
        if start >= stop:
            return
        for block in blocks_from(self.path, self._layout, places[-1]):
            first = block.place.row
            if first >= stop:
                return
            if block.lines and first + len(block.lines) > start:
                yield self._cutter.values(block)[max(0, start - first) : stop - first]

    def _turned_matrix(self, n_profiles: int) -> TurnedMatrix:
        if self._turned is None:
            turned = TurnedMatrix(self.path, n_profiles)
            for block in blocks_from(self.path, self._layout):
                if block.lines:
                    turned.add(self._cutter.values(block))
            self._turned = turned
        return self._turned


def _is_table(head: Head) -> bool:
    width = len(head.full_names)
    if width < 2:
        return False
    n_even = sum(len(row) == width for row in head.rows)
    if head.separator == b" ":
        has_numbers = all(any(is_number(field) for field in row[1:]) for row in head.rows)
        return n_even == len(head.rows) and has_numbers
    has_values = any(not is_missing(field) for row in head.rows for field in row)
    return 2 * n_even >= len(head.rows) and has_values


def _regrouped(blocks: Iterator[npt.NDArray[np.float32]], rows: int) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the same rows, `rows` at a time."""
    waiting: list[npt.NDArray[np.float32]] = []
    n_waiting = 0
    for block in blocks:
        for first in range(0, len(block), rows):
            part = block[first : first + rows]
            waiting.append(part)
            n_waiting += len(part)
            if n_waiting >= rows:
                joined = waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
                yield joined[:rows]
                waiting = [joined[rows:]] if n_waiting > rows else []
                n_waiting = len(joined) - len(joined[:rows])
    if n_waiting:
        yield waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
