"""A table with a header, whatever it is kept in: csv, tsv, semicolons, gzip, UTF-16, Parquet or Arrow.

Its content decides, and it is read a block at a time: what is kept of a block is the reader's choice.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as parquet

from pertcast_data.errors import FormatError, SchemaError
from pertcast_data.tables.content import ARROW, PARQUET, content_start, head_lines, open_content
from pertcast_data.tables.text_blocks import TextLayout, line_blocks, parsed_block, split_lines

_ROWS_AT_ONCE: Final = 1 << 16
_BYTES_AT_ONCE: Final = 1 << 23
_REMEDY: Final = "Write the same number of values in every line."


@dataclass
class Table:
    """A table as its file has it; text tables are read as text, blanks around values stripped.

    Attributes
    ----------
    path
        The file.
    columns
        Names of its columns, in order.
    layout
        How its text is laid out; None for Parquet and Arrow.
    notes
        What was found while blocks were read, in words (bytes that are no UTF-8).
    """

    path: Path
    columns: tuple[str, ...]
    layout: TextLayout | None
    notes: list[str] = field(default_factory=list)

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        """Yield the rows in order, some at a time; `columns` leaves out all others.

        Raises
        ------
        FormatError
            The file cannot be read.
        SchemaError
            A line has more or fewer values than the header (file, line and counts are named).
        """
        chosen = list(self.columns if columns is None else columns)
        if self.layout is not None:
            yield from self._text_blocks(self.layout, chosen)
            return
        try:
            with open_content(self.path) as file:
                for batch in _record_batches(file, chosen):
                    yield pl.DataFrame(batch)
        except (pa.ArrowException, pl.exceptions.PolarsError, OSError) as error:
            raise FormatError(f"{self.path}: cannot be read as a table ({error}). Write it anew.") from error

    def read(self, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Return all rows; raises as `blocks`."""
        blocks = list(self.blocks(columns))
        if blocks:
            return pl.concat(blocks)
        return pl.DataFrame(schema=dict.fromkeys(columns or self.columns, pl.String))

    def _text_blocks(self, layout: TextLayout, chosen: list[str]) -> Iterator[pl.DataFrame]:
        n_recoded, example = 0, ""
        for raw in line_blocks(self.path, layout, _BYTES_AT_ONCE):
            block, count, first = _as_utf_8(raw)
            n_recoded, example = n_recoded + count, example or first
            try:
                frame = parsed_block(self.path, layout, block)
            except FormatError as error:
                raise _ragged(self.path, layout) or error from error
            if frame.width and frame[frame.columns[-1]].null_count():
                _require_whole(self.path, layout, block, frame.height)
            frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))
            yield frame.select(pl.col(chosen).str.strip_chars().replace("", None))
        if n_recoded:
            self.notes.append(
                f"{self.path.name}: {n_recoded:,} lines are no UTF-8 and were read as Latin-1 ({example})"
            )

    @property
    def looks_headless(self) -> bool:
        """Whether the first line seems to be a row: a value of it is a number or a structure, not a name."""
        return any(_is_no_name(name) for name in self.columns)


def open_table(path: Path | str, remedy: str = "Check the path.") -> Table:
    """Open a table by its content.

    Parameters
    ----------
    path
        csv, tsv, or text separated by semicolons or bars, in UTF-8, UTF-16 or Latin-1; Parquet or Arrow;
        packed with gzip or not. Lines before the header that begin with "#" are left out.
    remedy
        What to do where the file is absent.

    Raises
    ------
    FormatError
        The file is absent, packed otherwise, empty or no table.
    """
    path = Path(path)
    if not path.is_file():
        raise FormatError(f"{path}: no such table. {remedy}")
    start = content_start(path)
    if start.startswith((PARQUET, ARROW)):
        return Table(path, _arrow_columns(path, start.startswith(ARROW)), None)
    if not start.strip(b"\xef\xbb\xbf \t\r\n"):
        raise FormatError(f"{path}: is empty. Bring a table with a header: csv, tsv or Parquet.")
    if b"\n" not in start and b"\r" in start:
        raise FormatError(
            f"{path}: its lines end as those of old Macintosh files. Convert it: tr '\\r' '\\n' < FILE > NEW."
        )
    layout = _layout(path)
    return Table(path, tuple(layout.names or ()), layout)


def _record_batches(file: io.BufferedIOBase, columns: list[str]) -> Iterator[pa.Table]:
    # What gzip unpacks cannot be sought in cheaply: Parquet and Arrow are then held whole.
    source = file if isinstance(file, io.BufferedReader) and _is_plain(file) else io.BytesIO(file.read())
    start = source.read(len(ARROW))
    source.seek(0)
    if start == ARROW:
        reader = ipc.open_file(source)
        for place in range(reader.num_record_batches):
            yield pa.Table.from_batches([reader.get_batch(place)]).select(columns)
        return
    for batch in parquet.ParquetFile(source).iter_batches(_ROWS_AT_ONCE, columns=columns):
        yield pa.Table.from_batches([batch]).select(columns)


def _is_plain(file: io.BufferedReader) -> bool:
    return isinstance(file.raw, io.FileIO)


def _arrow_columns(path: Path, is_arrow: bool) -> tuple[str, ...]:
    try:
        with open_content(path) as file:
            source = io.BytesIO(file.read()) if not _is_plain(file) else file  # type: ignore[arg-type]
            schema = ipc.open_file(source).schema if is_arrow else parquet.read_schema(source)
    except (pa.ArrowException, OSError) as error:
        raise FormatError(f"{path}: cannot be read as a table ({error}). Write it anew.") from error
    return tuple(schema.names)


def _layout(path: Path) -> TextLayout:
    """Return the layout that the first lines show: separator, names, lines before the first row."""
    lines = [(place, line) for place, line in enumerate(head_lines(path)) if line.strip()]
    while len(lines) > 1 and lines[0][1].startswith("#") and not _is_header(lines[0][1], lines[1][1]):
        del lines[0]
    place, line = lines[0]
    text = _latin_1(path, place) if "\ufffd" in line else line
    separator = _separator(text)
    is_quoted = separator != "\t" or '"' in text
    values = next(csv.reader([text], delimiter=separator)) if is_quoted else text.split(separator)
    if values[0].startswith("#"):
        values[0] = values[0].lstrip("#")
    return TextLayout(_names(values), separator, len(values), place + 1, None, is_quoted)


def _is_header(comment: str, line: str) -> bool:
    """Whether a line that begins with "#" names as many columns as the next line has values."""
    separator = _separator(comment)
    return separator in comment and comment.count(separator) == line.count(separator)


def _separator(header: str) -> str:
    return "\t" if "\t" in header else max((",", ";", "|"), key=header.count)


def _latin_1(path: Path, place: int) -> str:
    with open_content(path) as file:
        line = next(line for number, line in enumerate(file) if number == place)
    return _as_utf_8(line)[0].decode().rstrip("\r\n")


def _names(values: list[str]) -> list[str]:
    """Return names of columns, stripped; one that stands there again has its number added."""
    stripped = [value.strip() for value in values]
    return [
        name if name not in stripped[:place] else f"{name or 'column'}_{place + 1}"
        for place, name in enumerate(stripped)
    ]


def _as_utf_8(block: bytes) -> tuple[bytes, int, str]:
    """Return a block as UTF-8, how many of its lines were none, and the first of them.

    Such a line is taken for Latin-1 as Windows writes it (byte B5 is the micro sign), line by line: files put
    together from several sources mix both.
    """
    try:
        block.decode("utf-8")
    except UnicodeDecodeError:
        lines = block.split(b"\n")
        decoded = [_decoded(line) for line in lines]
        recoded = [text for text, is_other in decoded if is_other]
        return "\n".join(text for text, _ in decoded).encode(), len(recoded), recoded[0].strip()[:40]
    return block, 0, ""


def _decoded(line: bytes) -> tuple[str, bool]:
    for encoding in ("utf-8", "cp1252"):
        try:
            return line.decode(encoding), encoding != "utf-8"
        except UnicodeDecodeError:
            continue
    return line.decode("latin-1"), True


def _require_whole(path: Path, layout: TextLayout, block: bytes, n_rows: int) -> None:
    """Raise where a line has fewer values than the header: its values may stand under wrong names."""
    n_separators = block.count(str(layout.separator).encode())
    if b'"' not in block and n_separators == n_rows * (layout.width - 1):
        return  # no line has more values, so none has fewer
    short = any(
        0 < len(values) < layout.width and any(values)
        for values in split_lines(block.decode("utf-8", errors="replace"), layout)
    )
    if short and (error := _ragged(path, layout)) is not None:
        raise error


def _ragged(path: Path, layout: TextLayout) -> SchemaError | None:
    """Return the error that names the first line with more or fewer values than the header names."""
    with open_content(path) as file:
        text = io.TextIOWrapper(
            file,  # type: ignore[type-var]
            encoding="utf-8",
            errors="replace",
            newline="",
        )
        for _ in range(layout.n_skipped):
            text.readline()
        number = layout.n_skipped
        for values, n_lines in _numbered(text, layout):
            first, number = number + 1, number + n_lines
            extra = any(value.strip() for value in values[layout.width :])
            if any(value.strip() for value in values) and (extra or len(values) < layout.width):
                return _wrong_width(path, layout, first, values)
    return None


def _numbered(text: Iterable[str], layout: TextLayout) -> Iterator[tuple[list[str], int]]:
    """Yield values of each row, and the number of lines that it takes."""
    if not layout.has_quotes:
        for line in text:
            yield line.rstrip("\r\n").split(str(layout.separator)), 1
        return
    reader, before = csv.reader(text, delimiter=str(layout.separator)), 0
    for values in reader:
        yield values, reader.line_num - before
        before = reader.line_num


def _wrong_width(path: Path, layout: TextLayout, number: int, values: list[str]) -> SchemaError:
    remedy = _REMEDY
    if len(values) == layout.width + 1 and number == layout.n_skipped + 1:
        remedy = "Name the first column too (R: write.table(..., row.names = FALSE, sep = '\\t'))."
    elif '"' in "".join(values):
        remedy = "Write the same number of values in every line, and quotes in pairs."
    return SchemaError(
        f"{path}, line {number}: {len(values)} values, the header names {layout.width} "
        f"({values[0].strip()[:40]}). {remedy}"
    )


def _is_no_name(name: str) -> bool:
    text = name.strip()
    try:
        float(text)
    except ValueError:
        # Of the marks of SMILES, names of columns hold none but brackets round a unit.
        return any(mark in text for mark in ("=", "[", "#")) or text.count("(") > 1
    return True
