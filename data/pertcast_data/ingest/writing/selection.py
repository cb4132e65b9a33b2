"""What of a file's batches goes into the store: kept rows, shared genes, the store's layout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
from scipy import sparse

from pertcast_data.readers.source import ProfileBatch, as_dense, rows_per_batch
from pertcast_data.store.info import Layout


def selected(
    batches: Iterable[ProfileBatch],
    is_kept: npt.NDArray[np.bool_],
    columns: npt.NDArray[np.int64] | None,
    layout: Layout,
) -> Iterator[ProfileBatch]:
    """Yield the kept rows of consecutive batches.

    Parameters
    ----------
    batches
        Of a file, from the row that `is_kept` begins with.
    is_kept
        For each of their rows whether it is kept.
    columns
        The genes that are kept, in the store's order; None for all of them as they are.
    layout
        "dense" makes arrays of sparse batches.
    """
    first = 0
    for batch in batches:
        mask = is_kept[first : first + batch.shape[0]]
        first += batch.shape[0]
        if not mask.any():
            continue
        rows = batch if mask.all() else batch[mask]
        if layout == "dense" and sparse.issparse(rows):
            # Piece by piece: a sparse batch of wide rows may be fifty times its size when it is dense.
            step = rows_per_batch(rows.shape[1])
            pieces = [rows[start : start + step] for start in range(0, rows.shape[0], step)]
        else:
            pieces = [rows]
        for piece in pieces:
            yield _with_columns(as_dense(piece) if layout == "dense" else piece, columns)


def _with_columns(rows: ProfileBatch, columns: npt.NDArray[np.int64] | None) -> ProfileBatch:
    if columns is not None:
        rows = rows[:, columns]
        if sparse.issparse(rows):
            rows.sort_indices()  # type: ignore[union-attr]
    return rows.astype(np.float32, copy=False) if rows.dtype.kind == "f" else rows
