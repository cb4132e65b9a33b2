"""Sums of profiles by line (a condition, a group of controls), in arrays that may live on disk.

A product with a sparse membership matrix adds a whole batch at once, dense or sparse, without a loop over
rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from pertcast_data.errors import SchemaError
from pertcast_data.readers.source import ProfileBatch, stored_values
from pertcast_data.store.densify import COUNTS_PER_ROW, log1p, normalise_dense
from pertcast_data.vocabulary import Normalisation

PIECE_VALUES: Final = 1 << 21
"""About how many values (stored entries of sparse rows) are worked on at once."""

_FEW_ROWS: Final = 4
"""Dense rows are added one by one where a line has fewer of them in a piece: its sum is not worth making."""


def pieces(batches: Iterable[ProfileBatch], n_rows: int, n_genes: int) -> Iterator[tuple[int, ProfileBatch]]:
    """Cut batches into pieces of bounded size, each with its first row.

    Raises
    ------
    SchemaError
        The batches do not hold `n_rows` profiles of `n_genes` genes.
    """
    first = 0
    for batch in batches:
        if batch.shape[1] != n_genes:
            raise SchemaError(
                f"Profiles from row {first} have {batch.shape[1]} genes, the gene table has {n_genes}. "
                "Give the gene table of these profiles."
            )
        if first + batch.shape[0] > n_rows:
            raise SchemaError(_do_not_fit(n_rows, "more"))
        stored = batch.nnz if sparse.issparse(batch) else batch.shape[0] * n_genes  # type: ignore[union-attr]
        step = max(1, int(PIECE_VALUES * batch.shape[0] / max(stored, 1)))
        for start in range(0, batch.shape[0], step):
            piece = batch if step >= batch.shape[0] else batch[start : start + step]
            yield first + start, piece
        first += batch.shape[0]
    if first != n_rows:
        raise SchemaError(_do_not_fit(n_rows, f"{first:,}"))


def _do_not_fit(n_rows: int, found: str) -> str:
    return f"The row table has {n_rows:,} rows, the batches hold {found} profiles. Give both in one order."


def normalised(piece: ProfileBatch, normalisation: Normalisation) -> ProfileBatch:
    """Return profiles as float32 as models will see them (`store.densify`); sparse ones stay sparse.

    A missing, infinite or negative count becomes 0, as it would make its whole row missing.
    """
    if not sparse.issparse(piece):
        dense = np.asarray(piece)
        return normalise_dense(_possible(dense) if normalisation == "counts" else dense, normalisation)
    rows: sparse.csr_matrix = sparse.csr_matrix(piece, copy=False)
    data = rows.data.astype(np.float32)
    if normalisation == "counts":
        data = _possible(data)
        totals = row_sums(data, rows.indptr)
        scales = (COUNTS_PER_ROW / np.where(totals > 0, totals, np.inf)).astype(np.float32)
        data = log1p(data * np.repeat(scales, np.diff(rows.indptr)))
    return sparse.csr_matrix((data, rows.indices, rows.indptr), shape=rows.shape)


def _possible(counts: NDArray[Any]) -> NDArray[Any]:
    if counts.dtype.kind == "f":
        counts = np.nan_to_num(counts, nan=0.0, posinf=0.0, neginf=0.0)
    return counts if counts.dtype.kind == "u" else np.maximum(counts, 0)


def row_sums(values: NDArray[Any], indptr: NDArray[Any]) -> NDArray[np.float64]:
    """Return the sum of each row's stored values, in float64."""
    sums = np.zeros(len(indptr) - 1, np.float64)
    filled = np.diff(indptr) > 0
    if filled.any():
        sums[filled] = np.add.reduceat(values, indptr[:-1][filled], dtype=np.float64)
    return sums


def fill_missing(piece: ProfileBatch, fill: NDArray[Any] | None, group: NDArray[np.integer]) -> ProfileBatch:
    """Replace what is missing or infinite by the mean of the row's control group (0 without `fill`).

    Parameters
    ----------
    piece
        Normalised profiles; changed only as a copy.
    fill
        (n_groups, G) control means.
    group
        (n,) group of each row, -1 for none.
    """
    bad = ~np.isfinite(stored_values(piece))
    if not bad.any():
        return piece
    changed: Any = piece.copy()
    if sparse.issparse(changed):
        entries = np.flatnonzero(bad)
        rows = np.searchsorted(changed.indptr, entries, side="right") - 1
        columns = changed.indices[entries]
        changed.data[entries] = _filling(fill, group[rows], columns)
    else:
        rows, columns = np.nonzero(bad)
        changed[rows, columns] = _filling(fill, group[rows], columns)
    return changed


def _filling(
    fill: NDArray[Any] | None, groups: NDArray[np.integer], columns: NDArray[np.integer]
) -> NDArray[np.float32]:
    if fill is None or not len(fill):
        return np.zeros(len(columns), np.float32)
    return np.where(groups >= 0, fill[groups, columns], 0).astype(np.float32)


def add_rows(
    target: NDArray[Any], lines: NDArray[np.integer], rows: NDArray[np.integer], piece: ProfileBatch
) -> None:
    """Add row `rows[i]` of `piece` to line `lines[i]` of `target`, for all i.

    Parameters
    ----------
    target
        (L, G) sums; may be a memory map.
    lines, rows
        (n,) pairs; a row may belong to several lines.
    piece
        (m, G) profiles without missing values.
    """
    if not len(lines):
        return
    sums = np.asarray(target)
    if sparse.issparse(piece):
        _add_entries(sums, lines, rows, piece)  # type: ignore[arg-type]
        return
    distinct, place = np.unique(lines, return_inverse=True)
    if len(lines) < _FEW_ROWS * len(distinct):
        for line, row in zip(lines.tolist(), rows.tolist(), strict=True):
            sums[line] += piece[row]
        return
    ones = np.ones(len(lines), target.dtype)
    member = sparse.csr_matrix((ones, (place, rows)), shape=(len(distinct), piece.shape[0]))
    sums[distinct] += member @ np.asarray(piece)


def _add_entries(
    target: NDArray[Any], lines: NDArray[np.integer], rows: NDArray[np.integer], piece: sparse.csr_matrix
) -> None:
    """Add the stored entries one by one, which costs a fifth of a sparse product; some rows at a time."""
    lengths, n_genes = np.diff(piece.indptr), target.shape[1]
    flat = target.reshape(-1)
    values = piece.data.astype(target.dtype, copy=False)
    step = max(1, int(PIECE_VALUES * len(lengths) / max(piece.nnz, 1)))
    for start in range(0, len(rows), step):
        some, counts = rows[start : start + step], lengths[rows[start : start + step]]
        first_entry = piece.indptr[some] - np.r_[0, np.cumsum(counts)[:-1]]
        entries = np.repeat(first_entry, counts) + np.arange(counts.sum())
        at = np.repeat(lines[start : start + step].astype(np.int64) * n_genes, counts)
        at += piece.indices[entries]
        np.add.at(flat, at, values[entries])
