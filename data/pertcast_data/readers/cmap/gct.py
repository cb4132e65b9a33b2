"""GCT text files, versions 1.2 and 1.3: genes as lines, samples as columns.

The matrix is turned through a temporary file, so memory does not grow with the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import polars as pl

from pertcast_data.errors import FormatError
from pertcast_data.readers.source import (
    ProfileBatch,
    SourceSchema,
    id_frame,
    refuse_choice,
    row_range,
    rows_per_batch,
)
from pertcast_data.readers.spill import scratch_array
from pertcast_data.readers.text.fields import as_numbers
from pertcast_data.text import decode

_MISSING_VALUES = frozenset({"", "na", "n/a", "nan", "null", "none", "-666"})


@dataclass(frozen=True, slots=True)
class _Header:
    version: str
    n_genes: int
    n_samples: int
    n_gene_fields: int
    n_sample_fields: int
    names: list[str]

    @property
    def first_value(self) -> int:
        return 1 + self.n_gene_fields

    @property
    def width(self) -> int:
        return self.first_value + self.n_samples


class GctSource:
    """Profiles of one .gct file.

    Parameters
    ----------
    path
        The file.
    matrix
        None: a gct file holds one matrix.

    Raises
    ------
    FormatError
        The header is wrong, or lines or columns are missing.
    """

    def __init__(self, path: Path, matrix: str | None = None) -> None:
        refuse_choice(path, matrix, "gct")
        self.path = path
        with path.open("rb") as file:
            self._header = _read_header(file, path)
            self._sample_fields = [
                self._fields(line, 4 + number)
                for number, line in enumerate(_lines(file, self._header.n_sample_fields, path))
            ]
            self._data_start = file.tell()
        self._parsed: tuple[list[list[str]], npt.NDArray[np.float32]] | None = None

    @staticmethod
    def detects(path: Path) -> bool:
        """Return whether the file starts with "#1.2" or "#1.3"."""
        with path.open("rb") as file:
            return file.read(4) in (b"#1.2", b"#1.3")

    def schema(self) -> SourceSchema:
        """Return the shape that the header declares."""
        header = self._header
        return SourceSchema(
            self.path, "gct", header.n_samples, header.n_genes, "dense", "text", is_splittable=False
        )

    def obs(self) -> pl.DataFrame:
        """Return the samples' metadata; columns of whole or decimal numbers become numbers."""
        first = self._header.first_value
        columns = {fields[0]: _typed(fields[first:]) for fields in self._sample_fields}
        return id_frame(self._header.names[first:], columns)

    def var(self) -> pl.DataFrame:
        """Return the genes' metadata; columns of whole or decimal numbers become numbers."""
        first = self._header.first_value
        rows, _ = self._genes_and_matrix()
        columns = {
            name: _typed([row[position] for row in rows])
            for position, name in enumerate(self._header.names[1:first], start=1)
        }
        return id_frame([row[0] for row in rows], columns)

    def batches(
        self, rows: int | None = None, start: int = 0, stop: int | None = None
    ) -> Iterator[ProfileBatch]:
        """Yield the matrix, samples as rows, as float32; missing values are NaN."""
        header = self._header
        low, high = row_range(header.n_samples, start, stop)
        _, matrix = self._genes_and_matrix()
        step = rows or rows_per_batch(header.n_genes)
        for first in range(low, high, step):
            yield np.ascontiguousarray(matrix[:, first : min(first + step, high)].T)

    def _genes_and_matrix(self) -> tuple[list[list[str]], npt.NDArray[np.float32]]:
        """Return the genes' fields and the matrix (genes, samples) on disk; the text is read once."""
        if self._parsed is None:
            header, genes = self._header, []
            matrix = scratch_array((header.n_genes, header.n_samples), np.float32)
            for number, fields in enumerate(self._gene_lines()):
                genes.append(fields[: header.first_value])
                matrix[number] = self._values(fields[header.first_value :], number)
            self._parsed = genes, matrix
        return self._parsed

    def _gene_lines(self) -> Iterator[list[str]]:
        first_line = 4 + self._header.n_sample_fields
        with self.path.open("rb") as file:
            file.seek(self._data_start)
            for number, line in enumerate(_lines(file, self._header.n_genes, self.path)):
                yield self._fields(line, first_line + number)
            if file.read(4096).strip():
                raise FormatError(
                    f"{self.path}: has more lines than the {self._header.n_genes} genes its second line "
                    "declares. Correct that line, or write the file again."
                )

    def _fields(self, line: bytes, number: int) -> list[str]:
        fields = decode(line).rstrip("\r\n").split("\t")
        if len(fields) != self._header.width:
            raise FormatError(
                f"{self.path}, line {number}: {len(fields)} fields where {self._header.width} are declared. "
                "The file is truncated or edited: copy or write it again."
            )
        return fields

    def _values(self, texts: list[str], gene: int) -> npt.NDArray[np.float32]:
        try:
            values = np.array(texts, dtype=np.float64)
        except ValueError:
            values = np.array([self._value(text, gene) for text in texts], dtype=np.float64)
        values[values == -666] = np.nan
        with np.errstate(over="ignore"):
            return values.astype(np.float32)

    def _value(self, text: str, gene: int) -> float:
        if text.strip().lower() in _MISSING_VALUES:
            return float("nan")
        try:
            return float(text)
        except ValueError:
            line = 4 + self._header.n_sample_fields + gene
            shown = text if len(text) <= 60 else f"{text[:59]}…"
            raise FormatError(
                f"{self.path}, line {line}: {shown!r} is no number. Correct the file."
            ) from None


def _lines(file: BinaryIO, count: int, path: Path) -> Iterator[bytes]:
    for number in range(count):
        line = file.readline()
        if not line.strip():
            raise FormatError(
                f"{path}: ends after {number} of {count} declared lines. It is truncated: copy it again."
            )
        yield line


def _read_header(file: BinaryIO, path: Path) -> _Header:
    version = decode(file.readline()).strip().lstrip("#").split("\t")[0]
    try:
        sizes = [int(field) for field in decode(file.readline()).split()]
    except ValueError as error:
        raise FormatError(f"{path}, line 2: must hold whole numbers ({error}). Correct the file.") from None
    if version == "1.2" and len(sizes) >= 2:
        sizes = [*sizes[:2], 1, 0]
    if len(sizes) != 4 or min(sizes) < 0:
        raise FormatError(f"{path}, line 2: {len(sizes)} sizes, but GCT 1.3 has four. Correct the file.")
    names = decode(file.readline()).rstrip("\r\n").split("\t")
    header = _Header(version, sizes[0], sizes[1], sizes[2], sizes[3], names)
    if len(names) != header.width:
        raise FormatError(
            f"{path}, line 3: {len(names)} names where line 2 declares {header.width} columns. "
            "The file is truncated or edited: copy or write it again."
        )
    return header


def _typed(texts: list[str]) -> pl.Series:
    column = pl.Series([text.strip() for text in texts], dtype=pl.String)
    numbers = as_numbers(column, _MISSING_VALUES)
    return column if numbers is None else numbers
