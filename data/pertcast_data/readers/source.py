"""The contract of every reader: what a file of profiles tells, in bounded memory.

Rows are profiles (cells, wells, signatures) and columns are genes, whatever way round the file has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy.typing as npt
import polars as pl
from scipy import sparse

from pertcast_data.errors import FormatError

ProfileBatch: TypeAlias = "npt.NDArray[Any] | sparse.csr_matrix"
"""Profiles of consecutive rows, (n, n_genes): a dense array or a CSR matrix with sorted indices."""

SOURCE_ID = "source_id"
"""First column of every `obs()` and `var()`: the file's own name of the row, as text."""

_BATCH_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SourceSchema:
    """What is known of a file before its values are read.

    Attributes
    ----------
    path
        The file.
    format
        Name of the reader that reads it.
    n_rows, n_genes
        Number of profiles and of genes.
    layout
        "csr" where batches are sparse, "dense" where they are arrays.
    dtype
        The file's own number type.
    notes
        What the reader could not read or had to change, in words.
    is_splittable
        Whether a range of rows costs about what its rows cost; False where the file must be turned or read
        from its front (CSC, GCT text), so that many workers would each do all of the work.
    """

    path: Path
    format: str
    n_rows: int
    n_genes: int
    layout: Literal["csr", "dense"]
    dtype: str
    notes: tuple[str, ...] = ()
    is_splittable: bool = True


class ProfileSource(Protocol):
    """A file of profiles that is opened and known to be whole enough to be read.

    Opening reads shapes and names only, so that another process can open the same path and matrix again.
    """

    def __init__(self, path: Path, matrix: str | None = None) -> None:
        """Open a matrix of `path` (None: the main one); raises FormatError where it is not whole."""
        ...

    @staticmethod
    def detects(path: Path) -> bool:
        """Return whether the file's content is of this format; never raises for a readable file."""
        ...

    def schema(self) -> SourceSchema:
        """Return shape, layout and number type."""
        ...

    def obs(self) -> pl.DataFrame:
        """Return the row table as the file has it: `source_id`, then the file's columns, in file order."""
        ...

    def var(self) -> pl.DataFrame:
        """Return the gene table as the file has it: `source_id`, then the file's columns, in file order."""
        ...

    def batches(
        self, rows: int | None = None, start: int = 0, stop: int | None = None
    ) -> Iterator[ProfileBatch]:
        """Yield the profiles start..stop (exclusive) in file order.

        Parameters
        ----------
        rows
            Profiles of a batch; None: about 32 MiB of them.
        start, stop
            Rows of the file, counted from 0; `stop` None or beyond the end is the end.

        Raises
        ------
        FormatError
            The file is damaged, or what it holds does not fit.
        """
        ...


def row_range(n_rows: int, start: int, stop: int | None) -> tuple[int, int]:
    """Return the rows start..stop of a file of `n_rows`, cut to what there is; an empty range is (n, n)."""
    if start < 0 or (stop is not None and stop < 0):
        raise ValueError(f"rows are counted from 0, got {start} to {stop}")
    last = n_rows if stop is None else min(stop, n_rows)
    return min(start, last), last


def refuse_choice(path: Path, matrix: str | None, format_name: str) -> None:
    """Raise FormatError where a matrix is named but files of this format hold only one."""
    if matrix is not None:
        raise FormatError(
            f"{path}: is {format_name} and holds one matrix, so `matrix: {matrix}` names nothing in it. "
            "Leave `matrix` out of the mapping file."
        )


def rows_per_batch(n_genes: int, itemsize: int = 4) -> int:
    """Return how many dense rows of `n_genes` numbers make a batch of about 32 MiB (at least one)."""
    return max(1, _BATCH_BYTES // max(1, n_genes * itemsize))


def entries_per_batch() -> int:
    """Return how many stored entries of a sparse matrix make a batch of about 32 MiB."""
    return _BATCH_BYTES // 8


def id_frame(ids: list[str], columns: dict[str, pl.Series]) -> pl.DataFrame:
    """Return a table whose first column is `source_id`; a file column of that name gets a trailing "_"."""
    renamed = {f"{name}_" if name == SOURCE_ID else name: column for name, column in columns.items()}
    return pl.DataFrame({SOURCE_ID: pl.Series(ids, dtype=pl.String), **renamed})


def stored_values(batch: ProfileBatch) -> npt.NDArray[Any]:
    """Return the numbers that a batch holds: all of a dense one, the entries of a sparse one."""
    return batch.data if sparse.issparse(batch) else batch  # type: ignore[return-value]


def as_dense(batch: ProfileBatch) -> npt.NDArray[Any]:
    """Return a batch as an array."""
    return batch.toarray() if sparse.issparse(batch) else batch  # type: ignore[no-any-return,union-attr]
