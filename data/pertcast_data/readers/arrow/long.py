"""A long list of (profile, gene, value) becomes a matrix: brought into rows through a temporary file.

Profiles and genes keep the order in which they first appear. Pairs that are not listed are zeros only where
the list leaves zeros out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from scipy import sparse

from pertcast_data.errors import FormatError
from pertcast_data.readers.arrow.file import ArrowFile
from pertcast_data.readers.arrow.layout import ArrowLayout
from pertcast_data.readers.arrow.values import note_frame, numbers_of
from pertcast_data.readers.source import ProfileBatch
from pertcast_data.readers.spill import scratch_array

_ROWS: Final = 1 << 20


@dataclass(slots=True)
class _Names:
    """Names in the order of their first appearance, and what each stands for."""

    codes: dict[str, int] = field(default_factory=dict)

    def code(self, column: Any, name: str, path: Path, first_row: int) -> npt.NDArray[np.int64]:
        """Return the number of each value's name; raises FormatError where one is missing."""
        if column.null_count:
            row = first_row + int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
            raise FormatError(f"{path}: row {row} has no {name!r}. Correct or leave out the row.")
        encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        own = [_as_name(value) for value in encoded.dictionary.to_pylist()]
        # Only names that are used: a dictionary may hold more.
        used = encoded.indices.to_numpy(zero_copy_only=False)
        table = np.full(len(own), -1, np.int64)
        _, firsts = np.unique(used, return_index=True)
        for place in used[np.sort(firsts)].tolist():
            table[place] = self.codes.setdefault(own[place], len(self.codes))
        codes: npt.NDArray[np.int64] = table[used]
        return codes


def _as_name(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


class LongMatrix:
    """The matrix of a long list.

    Parameters
    ----------
    file
        The file.
    layout
        Which columns are which.

    Raises
    ------
    FormatError
        A name is missing, or an annotation differs within one profile or gene.
    """

    def __init__(self, file: ArrowFile, layout: ArrowLayout) -> None:
        self._file, self._layout = file, layout
        self._gene, self._value = layout.values
        self._profile = str(layout.row_name)
        self._profiles, self._genes = _Names(), _Names()
        counts, self.obs, self.var = self._first_pass()
        self._pointers = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        n_entries = int(self._pointers[-1])
        self._columns = scratch_array((n_entries,), np.int32)
        self._values = scratch_array((n_entries,), np.float32)
        self._is_positive = self._second_pass()

    @property
    def profiles(self) -> list[str]:
        """Names of profiles."""
        return [*self._profiles.codes]

    @property
    def genes(self) -> list[str]:
        """Names of genes."""
        return [*self._genes.codes]

    @property
    def is_complete(self) -> bool:
        """Whether every profile has a value of every gene."""
        return len(self._values) == len(self._profiles.codes) * len(self._genes.codes)

    @property
    def is_sparse(self) -> bool:
        """Whether the list leaves zeros out: pairs are missing, and no value is zero, negative or missing."""
        return not self.is_complete and self._is_positive

    @property
    def told(self) -> tuple[str, ...]:
        """What pairs that are not listed are, in words."""
        if self.is_complete:
            return ()
        meaning = "0 (all listed values are above 0)" if self.is_sparse else "missing (NaN)"
        return (f"pairs of profile and gene that are not listed are {meaning}",)

    def rows(self, start: int, stop: int) -> ProfileBatch:
        """Return the profiles start..stop, dense or CSR; raises FormatError where a pair stands twice."""
        low, high = int(self._pointers[start]), int(self._pointers[stop])
        shape = (stop - start, len(self._genes.codes))
        pointers = self._pointers[start : stop + 1] - low
        columns, values = np.array(self._columns[low:high]), np.array(self._values[low:high])
        matrix = sparse.csr_matrix((values, columns, pointers), shape=shape)
        matrix.sort_indices()
        rows = np.repeat(np.arange(shape[0]), np.diff(pointers))
        twice = np.flatnonzero((np.diff(matrix.indices) == 0) & (np.diff(rows) == 0))
        if len(twice):
            profile = self.profiles[start + int(rows[twice[0]])]
            gene = self.genes[int(matrix.indices[twice[0]])]
            raise FormatError(
                f"{self._file.path}: {profile!r} has several values of {gene!r}. Keep one row a pair."
            )
        if self.is_sparse:
            return matrix
        dense = np.full(shape, np.nan, np.float32)
        dense[rows, matrix.indices] = matrix.data
        return dense

    def _coded(
        self, columns: list[str]
    ) -> Iterator[tuple[Any, npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        first = 0
        for batch in self._file.batches(columns, _ROWS):
            rows = self._profiles.code(batch.column(self._profile), self._profile, self._file.path, first)
            genes = self._genes.code(batch.column(self._gene), self._gene, self._file.path, first)
            yield batch, rows, genes
            first += len(batch)

    def _first_pass(self) -> tuple[npt.NDArray[np.int64], pl.DataFrame, pl.DataFrame]:
        counts = np.zeros(0, np.int64)
        notes, gene_notes = list(self._layout.notes), list(self._layout.gene_notes)
        of_profiles, of_genes = _Notes(self._file.path, "profile"), _Notes(self._file.path, "gene")
        for batch, rows, genes in self._coded([self._profile, self._gene, *notes, *gene_notes]):
            more = np.bincount(rows, minlength=len(self._profiles.codes))
            more[: len(counts)] += counts
            counts = more
            of_profiles.add(note_frame(batch, notes), rows)
            of_genes.add(note_frame(batch, gene_notes), genes)
        return counts, of_profiles.table(), of_genes.table()

    def _second_pass(self) -> bool:
        next_free = self._pointers[:-1].copy()
        is_positive = True
        for batch, rows, genes in self._coded([self._profile, self._gene, self._value]):
            values = numbers_of(batch.column(self._value))
            is_positive = is_positive and bool((values > 0).all())
            order = np.argsort(rows, kind="stable")
            per_row = np.bincount(rows, minlength=len(next_free))
            begins = np.cumsum(per_row) - per_row
            target = np.repeat(next_free - begins, per_row) + np.arange(len(rows))
            self._columns[target] = genes[order]
            self._values[target] = values[order]
            next_free += per_row
        return is_positive


class _Notes:
    """Annotations of profiles or genes, gathered from many rows: one line each."""

    def __init__(self, path: Path, noun: str) -> None:
        self._path, self._noun = path, noun
        self._seen: pl.DataFrame | None = None

    def add(self, frame: pl.DataFrame, codes: npt.NDArray[np.int64]) -> None:
        if not frame.width:
            return
        new = frame.with_columns(pl.Series("__code", codes)).unique(maintain_order=True)
        self._seen = new if self._seen is None else pl.concat([self._seen, new]).unique(maintain_order=True)

    def table(self) -> pl.DataFrame:
        """Return the annotations in the order of the codes."""
        if self._seen is None:
            return pl.DataFrame()
        table = self._seen.sort("__code")
        names = [name for name in table.columns if name != "__code"]
        repeats = table.filter(pl.col("__code").is_duplicated())
        if repeats.height:
            first = repeats.filter(pl.col("__code") == repeats["__code"][0])
            name = next(name for name in names if first[name].n_unique() > 1)
            raise FormatError(
                f"{self._path}: column {name!r} has several values for one {self._noun} ({first[name][0]!r}, "
                f"{first[name][1]!r}). Give each {self._noun} one, or leave the column out."
            )
        return table.drop("__code")
