"""Parquet, Arrow and Feather tables of profiles: a column a gene, a column of vectors, or a long list.

Rows are read a piece of a row group at a time; what each column was taken for stands in the schema's notes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as compute

from pertcast_data.errors import FormatError
from pertcast_data.readers.arrow.file import ArrowFile, broken_as_format_error
from pertcast_data.readers.arrow.layout import ArrowLayout, settle_layout
from pertcast_data.readers.arrow.long import LongMatrix
from pertcast_data.readers.arrow.values import matrix_of, note_frame, numbers_of
from pertcast_data.readers.source import (
    ProfileBatch,
    SourceSchema,
    id_frame,
    refuse_choice,
    row_range,
    rows_per_batch,
)

_NOTE_ROWS = 1 << 17


class ArrowTableSource:
    """Profiles of one Parquet, Arrow or Feather table, as float32.

    Parameters
    ----------
    path
        The file.
    matrix
        The column of vectors, where several columns hold vectors.
    annotation_columns
        Columns of numbers that are no genes, beside those whose names tell it; all others are genes then.
        None: told by names alone.

    Raises
    ------
    FormatError
        It is damaged, holds no matrix, or it cannot be told which columns are genes.
    """

    def __init__(
        self, path: Path, matrix: str | None = None, *, annotation_columns: tuple[str, ...] | None = None
    ) -> None:
        self.path = path
        self._file = ArrowFile(path)
        if self._file.n_rows == 0:
            raise FormatError(f"{path}: has no rows. Write it again with profiles.")
        with broken_as_format_error(path):
            self._layout: ArrowLayout = settle_layout(path, self._file.schema, annotation_columns, matrix)
        if self._layout.form != "vectors":
            refuse_choice(path, matrix, self._file.format)
        self._long: LongMatrix | None = None
        self._genes = self._gene_names()

    @staticmethod
    def detects(path: Path) -> bool:
        """Return whether the file begins as Parquet, Arrow or Feather files do."""
        return ArrowFile.detects(path)

    def schema(self) -> SourceSchema:
        """Return the shape and what columns were taken for; a long list is read for it."""
        layout, file = self._layout, self._file
        told = layout.told
        if layout.row_name is None:
            told = (*told, "rows have no names: they are numbered from 0")
        if layout.form == "long":
            return self._long_schema(told)
        if layout.form == "vectors" and not layout.genes:
            told = (
                *told,
                "genes have no names: they are numbered from 0 (write them into the schema's metadata)",
            )
        return SourceSchema(
            self.path,
            file.format,
            file.n_rows,
            len(self._genes),
            "dense",
            self._dtype(),
            told,
            file.is_splittable,
        )

    def obs(self) -> pl.DataFrame:
        """Return the annotation columns of profiles."""
        layout = self._layout
        if layout.form == "long":
            long = self._long_matrix()
            return id_frame(long.profiles, {name: long.obs[name] for name in long.obs.columns})
        row_name = layout.row_name
        own = [] if row_name is None else [row_name]
        wanted = [*layout.notes, *own]
        with broken_as_format_error(self.path):
            batches = self._file.batches(wanted, _NOTE_ROWS) if wanted else ()
            frames = [note_frame(batch, wanted) for batch in batches]
            frame = pl.concat(frames, how="vertical_relaxed") if frames else pl.DataFrame()
            numbers = map(str, range(self._file.n_rows))
            names = [*numbers] if row_name is None else _names(frame[row_name])
            return id_frame(names, {name: frame[name] for name in layout.notes})

    def var(self) -> pl.DataFrame:
        """Return the genes' names (and, of a long list, their annotation columns)."""
        if self._layout.form == "long":
            long = self._long_matrix()
            return id_frame(long.genes, {name: long.var[name] for name in long.var.columns})
        return id_frame(list(self._genes), {})

    def batches(
        self, rows: int | None = None, start: int = 0, stop: int | None = None
    ) -> Iterator[ProfileBatch]:
        """Yield the profiles start..stop as float32; nulls and -666 are NaN."""
        if self._layout.form == "long":
            long = self._long_matrix()
            first, last = row_range(len(long.profiles), start, stop)
            step = rows or rows_per_batch(len(long.genes))
            for begin in range(first, last, step):
                yield long.rows(begin, min(begin + step, last))
            return
        first, last = row_range(self._file.n_rows, start, stop)
        step = rows or rows_per_batch(len(self._genes))
        for batch in self._file.batches(self._layout.values, step, first, last):
            if self._layout.form == "wide":
                yield matrix_of(batch)
            else:
                yield self._vectors(batch.column(0), first)
            first += len(batch)

    def _long_matrix(self) -> LongMatrix:
        if self._long is None:
            with broken_as_format_error(self.path):
                self._long = LongMatrix(self._file, self._layout)
        return self._long

    def _long_schema(self, told: tuple[str, ...]) -> SourceSchema:
        long = self._long_matrix()
        return SourceSchema(
            self.path,
            self._file.format,
            len(long.profiles),
            len(long.genes),
            "csr" if long.is_sparse else "dense",
            str(self._file.schema.field(self._layout.values[1]).type),
            (*told, *long.told),
            is_splittable=False,
        )

    def _dtype(self) -> str:
        kinds = {str(self._file.schema.field(name).type) for name in self._layout.values}
        return kinds.pop() if len(kinds) == 1 else "mixed"

    def _gene_names(self) -> tuple[str, ...]:
        layout = self._layout
        if layout.form != "vectors" or not layout.values:
            return layout.genes
        kind = self._file.schema.field(layout.values[0]).type
        is_fixed = pa.types.is_fixed_size_list(kind)
        if not layout.genes and not is_fixed:
            raise FormatError(
                f"{self.path}: nothing names the genes of {layout.values[0]!r}, a column of vectors. Write a "
                "JSON list of names into the schema's metadata under 'genes', or write a column a gene."
            )
        if layout.genes and is_fixed and len(layout.genes) != kind.list_size:
            raise FormatError(
                f"{self.path}: the metadata name {len(layout.genes):,} genes, but {layout.values[0]!r} holds "
                f"vectors of {kind.list_size:,} values. Correct the names."
            )
        return layout.genes or tuple(map(str, range(kind.list_size)))

    def _vectors(self, column: object, first_row: int) -> npt.NDArray[np.float32]:
        n_genes = len(self._genes)
        lengths = compute.list_value_length(column)
        is_there = lengths.is_valid().to_numpy(zero_copy_only=False)
        found = lengths.fill_null(n_genes).to_numpy(zero_copy_only=False)
        wrong = np.flatnonzero(found != n_genes)
        if len(wrong):
            raise FormatError(
                f"{self.path}: the vector of row {first_row + int(wrong[0])} has {int(found[wrong[0]]):,} "
                f"values where there are {n_genes:,} genes. Write vectors of one length."
            )
        values = np.full((len(found), n_genes), np.nan, np.float32)
        present = column.filter(lengths.is_valid())  # type: ignore[attr-defined]
        values[is_there] = numbers_of(present.flatten()).reshape(-1, n_genes)
        return values


def _names(column: pl.Series) -> list[str]:
    text = column.cast(pl.String)
    text = text.str.replace(r"^(-?\d+)\.0$", "$1") if column.dtype.is_float() else text
    return text.fill_null("").to_list()
