"""Blocks of profiles on their way through fitted steps: CSR or dense, float32, a bounded number of rows.

Sums over them are float64 and taken block by block in row order, so that a result is the same every time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeAlias

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from pertcast_data.errors import SchemaError
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.readers.source import rows_per_batch
from pertcast_data.store import RowReader

Values: TypeAlias = "NDArray[np.float32] | sparse.csr_matrix"
Entries = Callable[[NDArray[np.float64], NDArray[np.int64]], NDArray[np.float64]]
"""Maps values (float64) and the genes that they belong to, to what is added up."""


class Transform(Protocol):
    """A fitted step that looks at one row at a time."""

    def transform(self, values: Values) -> Values:
        """Return `values` (M, G) after the step."""
        ...


def read_block(reader: RowReader, rows: NDArray[np.int64], steps: Iterable[Transform]) -> Values:
    """Return `rows` as stored (float32), then after each of `steps`."""
    values = as_float32(reader.raw(rows))
    for step in steps:
        values = step.transform(values)
    return values


def stream(
    reader: RowReader,
    rows: NDArray[np.int64],
    n_genes: int,
    steps: Iterable[Transform],
    progress: ProgressCallback = no_progress,
    note: str = "",
) -> Iterator[Values]:
    """Yield `rows` after `steps`, about 32 MiB of dense rows at a time."""
    chosen = tuple(steps)
    size = rows_per_batch(n_genes)
    for start in range(0, len(rows), size):
        yield read_block(reader, rows[start : start + size], chosen)
        progress(min(start + size, len(rows)), len(rows), note)


def as_float32(values: Any) -> Values:
    """Return stored values as float32, sparse where they are sparse."""
    return values.astype(np.float32, copy=False)  # type: ignore[no-any-return]


def as_dense(values: Values) -> NDArray[np.float32]:
    """Return values as an array."""
    return values.toarray() if sparse.issparse(values) else values  # type: ignore[no-any-return,union-attr]


def csr_parts(values: Values) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[Any]] | None:
    """Return data, indices and indptr of a sparse block; None for an array."""
    if not sparse.issparse(values):
        return None
    matrix: Any = values
    return matrix.data, matrix.indices, matrix.indptr


def gene_sums(blocks: Iterable[Values], n_genes: int, *functions: Entries) -> tuple[NDArray[np.float64], ...]:
    """Return, for each function, its sum over rows for every gene, (n_genes,) float64.

    A function must map 0 to 0: values that a sparse block leaves out are not looked at.

    Raises
    ------
    SchemaError
        A value is missing (NaN).
    """
    sums = tuple(np.zeros(n_genes, dtype=np.float64) for _ in functions)
    every_gene = np.arange(n_genes, dtype=np.int64)
    for block in blocks:
        entries = csr_parts(block)
        if entries is not None:
            values, genes = entries[0].astype(np.float64), entries[1].astype(np.int64)
            for total, function in zip(sums, functions, strict=True):
                total += np.bincount(genes, weights=function(values, genes), minlength=n_genes)
        else:
            values = np.asarray(block, dtype=np.float64)
            for total, function in zip(sums, functions, strict=True):
                total += function(values, every_gene).sum(axis=0)
    for total in sums:
        require_finite(total)
    return sums


def require_finite(per_gene: NDArray[np.float64]) -> None:
    """Raise SchemaError where a gene's sum says that a value is missing."""
    missing = np.flatnonzero(~np.isfinite(per_gene))
    if len(missing):
        raise SchemaError(
            f"{len(missing)} genes have missing values (NaN) in training rows, the first in place "
            f"{int(missing[0])} of the genes kept so far: variable genes cannot be chosen. Leave these genes "
            "out (`genes: keep` of the mapping file), or fill the values before the ingest."
        )


def library_sizes(values: Values, counted: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Return the sum of each row, (M,) float64, over the genes in `counted` (None: all)."""
    entries = csr_parts(values)
    if entries is None:
        chosen = as_dense(values)
        sums: NDArray[np.float64] = np.sum(
            chosen if counted is None else chosen[:, counted], axis=1, dtype=np.float64
        )
        return sums
    data, indices, indptr = entries
    if counted is not None:
        data = data * counted[indices]
    totals = np.zeros(len(indptr) - 1, dtype=np.float64)
    filled = np.diff(indptr) > 0
    if filled.any():
        totals[filled] = np.add.reduceat(data, indptr[:-1][filled], dtype=np.float64)
    return totals
