"""Parquet, Arrow IPC files and streams (Feather) behind one way of reading columns of a range of rows.

Record batches come a few megabytes at a time; whatever the library meets in damaged bytes is a FormatError.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as parquet

from pertcast_data.errors import FormatError

_PARQUET, _FILE, _STREAM, _FEATHER_1 = b"PAR1", b"ARROW1\0\0", b"\xff\xff\xff\xff", b"FEA1"
_SMALL_GROUP_BYTES: Final = 1 << 27
_BUFFERS: Final = 64 << 20
_BROKEN: Final = (
    *(pa.ArrowException, pl.exceptions.PolarsError, pl.exceptions.PanicException),
    *(OSError, ValueError, LookupError, TypeError, OverflowError, MemoryError, RuntimeError, AttributeError),
)


@contextmanager
def broken_as_format_error(path: Path) -> Iterator[None]:
    """Turn whatever the library raises within the block into a FormatError."""
    try:
        yield
    except FormatError:
        raise
    except _BROKEN as error:
        raise FormatError(
            f"{path}: cannot be read as Parquet or Arrow ({error}). It is truncated or damaged: copy it "
            "again, or write it anew."
        ) from error


class ArrowFile:
    """A Parquet file, an Arrow file or an Arrow stream, opened for reading.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    FormatError
        It is none of these, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            start = file.read(8)
        if start.startswith(_FEATHER_1):
            raise FormatError(
                f"{path}: is Feather version 1. Write it again as Parquet or Feather version 2."
            )
        self._is_parquet = start.startswith(_PARQUET)
        self._is_stream = start.startswith(_STREAM)
        with broken_as_format_error(path):
            self.schema, self._sizes = self._shape()
            repeats = [name for name, count in Counter(self.schema.names).items() if count > 1]
        if repeats:
            raise FormatError(
                f"{path}: several columns share a name ({', '.join(map(repr, repeats[:5]))}). Rename them."
            )

    @staticmethod
    def detects(path: Path) -> bool:
        """Return whether a file begins as Parquet, Arrow or Feather files do."""
        with path.open("rb") as file:
            start = file.read(16)
        # A stream begins with a mark, the length of its schema message, and a flatbuffer.
        length = int.from_bytes(start[4:8], "little")
        is_stream = start.startswith(_STREAM) and 0 < length < 1 << 28 and length % 8 == 0
        return is_stream or start.startswith((_PARQUET, _FILE, _FEATHER_1))

    @property
    def format(self) -> str:
        """Its name in reports."""
        return "parquet" if self._is_parquet else "arrow"

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return sum(self._sizes)

    @property
    def is_splittable(self) -> bool:
        """Whether a range of rows can be read without those before it."""
        return not self._is_stream

    def batches(
        self, columns: Sequence[str], rows: int, start: int = 0, stop: int | None = None
    ) -> Iterator[Any]:
        """Yield record batches of `columns`, at most `rows` rows each, of the rows start..stop."""
        last = self.n_rows if stop is None else stop
        with broken_as_format_error(self.path):
            for begin, piece in self._pieces(columns, rows, start, last):
                low, high = max(0, start - begin), min(len(piece), last - begin)
                for first in range(low, high, rows):
                    part = piece.slice(first, min(rows, high - first))
                    part.validate(full=True)
                    yield part

    def _shape(self) -> tuple[pa.Schema, list[int]]:
        if self._is_parquet:
            with parquet.ParquetFile(self.path) as file:
                groups = [file.metadata.row_group(place).num_rows for place in range(file.num_row_groups)]
                return file.schema_arrow, groups
        with pa.memory_map(str(self.path)) as mapped:
            if self._is_stream:
                stream = ipc.open_stream(mapped)
                return stream.schema, [len(batch) for batch in stream]
            reader = ipc.open_file(mapped)
            return reader.schema, [len(reader.get_batch(place)) for place in range(reader.num_record_batches)]

    def _pieces(self, columns: Sequence[str], rows: int, start: int, stop: int) -> Iterator[tuple[int, Any]]:
        """Yield record batches with the row each begins at, those that overlap start..stop."""
        begins = [0, *accumulate(self._sizes)][:-1]
        wanted = [
            place
            for place, (begin, size) in enumerate(zip(begins, self._sizes, strict=True))
            if begin < stop and begin + size > start
        ]
        if not wanted:
            return
        if self._is_parquet:
            yield from self._parquet_pieces(columns, rows, wanted, begins)
            return
        with pa.memory_map(str(self.path)) as mapped:
            if self._is_stream:
                for begin, batch in zip(begins, ipc.open_stream(mapped), strict=True):
                    if begin < stop and begin + len(batch) > start:
                        yield begin, batch.select(list(columns))
                return
            chosen = [self.schema.get_field_index(name) for name in columns]
            reader = ipc.open_file(mapped, options=ipc.IpcReadOptions(included_fields=chosen))
            for place in wanted:
                yield begins[place], reader.get_batch(place).select(list(columns))

    def _parquet_pieces(
        self, columns: Sequence[str], rows: int, wanted: list[int], begins: list[int]
    ) -> Iterator[tuple[int, Any]]:
        # Without a limit on its buffers the library holds a whole row group at once.
        size = max(4096, _BUFFERS // max(1, len(columns)))
        with parquet.ParquetFile(self.path, buffer_size=size, pre_buffer=False) as file:
            for group in wanted:
                begin = begins[group]
                for batch in _group_batches(file, group, list(columns), rows):
                    yield begin, batch.select(list(columns))
                    begin += len(batch)


def _group_batches(file: Any, group: int, columns: list[str], rows: int) -> Iterator[Any]:
    """Yield the batches of a row group: read at once where it is small, which takes a third of the time."""
    if file.metadata.row_group(group).total_byte_size <= _SMALL_GROUP_BYTES:
        yield from file.read_row_group(group, columns=columns).combine_chunks().to_batches(rows)
    else:
        yield from file.iter_batches(rows, row_groups=[group], columns=columns)
