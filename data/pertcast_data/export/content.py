"""What the writers of h5ad, GCTX and GCT are given: tables and values in blocks of rows.

A store and a screen are both brought into this form, so that each format has one writer and none of them
holds a whole table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast_data.errors import CorruptStore, SchemaError
from pertcast_data.export.ordering import Block, value_blocks, value_type
from pertcast_data.export.rows import ExportRows
from pertcast_data.progress import ProgressCallback
from pertcast_data.store import ExpressionStore

ROW_NAME: Final = "id"
"""First column of every `BlockTable`: the name of the row."""

MOST_CATEGORIES: Final = 1 << 16
"""Distinct texts of a column that are kept while it is surveyed."""

ValueBlocks = Callable[[ProgressCallback], Iterator[Block]]
"""Yields a matrix from its first row to its last and tells the progress of it."""


@dataclass(frozen=True)
class BlockTable:
    """A table that is read in blocks of rows, as often as wanted.

    Attributes
    ----------
    n_rows
        Number of rows.
    columns
        Names of the columns, `ROW_NAME` first.
    blocks
        Given some of the columns, yields them in blocks of rows, in order; text, numbers or Booleans.
    """

    n_rows: int
    columns: tuple[str, ...]
    blocks: Callable[[Sequence[str]], Iterator[pl.DataFrame]]

    @classmethod
    def of(cls, names: Sequence[str], frame: pl.DataFrame) -> BlockTable:
        """Return a table in memory under `names`; a column of its own that is called "id" becomes "id_"."""
        own = frame.rename({name: row_name_free(name) for name in frame.columns})
        table = own.with_columns(pl.col(pl.Enum).cast(pl.String)).select(
            pl.Series(ROW_NAME, names, dtype=pl.String), pl.all()
        )
        return cls(table.height, tuple(table.columns), lambda columns: iter([table.select(columns)]))

    def column(self, name: str) -> Iterator[pl.Series]:
        """Yield one column in blocks; raises CorruptStore where they are not `n_rows` rows together."""
        count = 0
        for block in self.blocks([name]):
            count += block.height
            yield block[name]
        if count != self.n_rows:
            raise CorruptStore(
                f"Column {name!r} has {count:,} rows where there are {self.n_rows:,} profiles."
            )


@dataclass(frozen=True)
class ExportContent:
    """A file of profiles before it is written.

    Attributes
    ----------
    obs, var
        Tables of profiles and of genes.
    values
        The matrix (profiles, genes), arrays or CSR matrices.
    dtype
        Float type in which values are written.
    layers
        Further dense matrices of the same shape, by name (h5ad only).
    facts
        What is said of the whole; read after the values, which may add to it (h5ad only).
    """

    obs: BlockTable
    var: BlockTable
    values: ValueBlocks
    dtype: np.dtype[Any]
    layers: Mapping[str, ValueBlocks] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of profiles and of genes."""
        return self.obs.n_rows, self.var.n_rows


@dataclass(frozen=True)
class ColumnFacts:
    """What has to be known of a column before it is written in blocks.

    Attributes
    ----------
    dtype
        Its type.
    n_missing
        Rows without a value.
    longest
        Bytes of the longest text (UTF-8); 0 for numbers.
    is_ascii
        Whether every text is ASCII.
    categories
        The distinct texts, sorted; None for numbers, and for text with more than `MOST_CATEGORIES` of them.
    """

    dtype: pl.DataType
    n_missing: int
    longest: int
    is_ascii: bool
    categories: tuple[str, ...] | None


def row_name_free(name: str) -> str:
    """Return a column's name that does not hide the names of the rows."""
    return f"{name}_" if name == ROW_NAME else name


def store_content(store: ExpressionStore, rows: ExportRows) -> ExportContent:
    """Return what an export of `rows` of a store holds."""
    reader = store.reader("auto")
    return ExportContent(
        obs=BlockTable.of(rows.row_names, rows.obs),
        var=BlockTable.of(rows.gene_names, rows.var),
        values=lambda progress: value_blocks(store, reader, rows.order, progress),
        dtype=value_type(reader),
    )


def dense(values: Any) -> NDArray[Any]:
    """Return a block of values as an array."""
    array: NDArray[Any] = values.toarray() if hasattr(values, "toarray") else values
    return array


def survey_column(table: BlockTable, name: str) -> ColumnFacts:
    """Read a column once and say what its blocks have in common.

    Raises
    ------
    SchemaError
        It holds neither text nor numbers nor Booleans.
    """
    n_missing = longest = 0
    is_ascii, keeps, distinct = True, True, pl.Series(name, [], dtype=pl.String)
    dtype: pl.DataType = pl.Null()
    for series in table.column(name):
        dtype, n_missing = series.dtype, n_missing + series.null_count()
        if dtype != pl.String:
            continue
        texts = series.drop_nulls().unique()
        sizes = texts.str.len_bytes()
        longest = max(longest, int(sizes.max() or 0))  # type: ignore[arg-type]
        is_ascii = is_ascii and bool((sizes == texts.str.len_chars()).all())
        if keeps:
            distinct = pl.concat([distinct, texts]).unique()
            keeps = len(distinct) <= MOST_CATEGORIES
    if dtype == pl.String:
        categories = tuple(distinct.sort().to_list()) if keeps else None
        return ColumnFacts(dtype, n_missing, longest, is_ascii, categories)
    if not (dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)):
        raise SchemaError(
            f"Column {name!r} has type {dtype}. Only text, numbers and true/false are exported."
        )
    return ColumnFacts(dtype, n_missing, 0, True, None)
