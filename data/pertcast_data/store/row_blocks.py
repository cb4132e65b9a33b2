"""Batches of source rows in the narrowest types that hold their values.

Counts mostly fit in 16 bits; whether they do is decided by looking at every value, never by the type they
arrive in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from pertcast_data.errors import SchemaError
from pertcast_data.store.info import Layout
from pertcast_data.vocabulary import Normalisation

_LARGEST_16_BIT_GENES: Final = 65_535
VALUE_TYPES: Final = (np.dtype(np.uint16), np.dtype(np.uint32), np.dtype(np.float32))
"""Types of sparse values, from the narrowest to the most general."""


@dataclass(frozen=True, slots=True)
class RowBlock:
    """Rows and where they go.

    Attributes
    ----------
    positions
        (M,) int64, rising: place of each in the store, or in the part of it that is asked for.
    lengths
        (M,) int64, values of each row; empty for dense rows.
    arrays
        For dense rows one (M, G) float32; for sparse rows gene indices and values, rows after each other.
    """

    positions: NDArray[np.int64]
    lengths: NDArray[np.int64]
    arrays: tuple[NDArray[Any], ...]


@dataclass(frozen=True, slots=True)
class NarrowBatch:
    """A checked batch: dense values, or the three parts of a CSR matrix in narrow types."""

    n_rows: int
    values: NDArray[Any]
    indices: NDArray[Any] | None = None
    indptr: NDArray[np.int64] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        arrays = (self.values, self.indices, self.indptr)
        return sum(array.nbytes for array in arrays if array is not None)


def index_type(n_genes: int) -> np.dtype[Any]:
    """Return the type of gene indices: 16 bits where they suffice."""
    return np.dtype(np.uint16 if n_genes <= _LARGEST_16_BIT_GENES else np.uint32)


def widest(first: np.dtype[Any], second: np.dtype[Any]) -> np.dtype[Any]:
    """Return the more general of two sparse value types."""
    return max(first, second, key=VALUE_TYPES.index)


def batch_layout(batch: Any) -> Layout:
    """Return the layout a batch asks for by its type."""
    return "csr" if sparse.issparse(batch) else "dense"


def narrow_batch(
    batch: Any, layout: Layout, n_genes: int, normalisation: Normalisation, first_row: int
) -> NarrowBatch:
    """Check a batch and bring it into the layout and the narrowest types.

    Parameters
    ----------
    batch
        (M, n_genes) array or scipy sparse matrix; it is not changed.
    layout
        Of the store.
    normalisation
        "counts" admits no negative and no missing value.
    first_row
        Source row of the batch's first row, for messages.

    Raises
    ------
    SchemaError
        The batch has another number of genes, is not numeric, or breaks `normalisation`.
    """
    if getattr(batch, "ndim", 0) != 2 or batch.shape[1] != n_genes:
        shape = getattr(batch, "shape", type(batch).__name__)
        raise SchemaError(f"The batch at source row {first_row} has shape {shape}; var has {n_genes} genes.")
    if batch.dtype.kind not in "buif":
        raise SchemaError(
            f"The batch at source row {first_row} has type {batch.dtype}; values must be numbers."
        )
    narrow = _narrow_csr(batch, n_genes) if layout == "csr" else _narrow_dense(batch)
    if normalisation == "counts" and narrow.values.dtype.kind == "f":
        _require_counts(narrow.values, first_row)
    return narrow


def narrow_values(values: NDArray[Any]) -> NDArray[Any]:
    """Return `values` as uint16 if every one of them survives that, else as uint32 or float32."""
    if values.dtype in (np.uint16, np.uint8, np.bool_):
        return values.astype(np.uint16, copy=False)
    for dtype in VALUE_TYPES[:-1]:
        # A value out of range is undefined after the cast; the comparison is what decides.
        with np.errstate(invalid="ignore"):
            cast = values.astype(dtype)
        if np.array_equal(cast, values):
            return cast
    return values.astype(np.float32, copy=False)


def _narrow_csr(batch: Any, n_genes: int) -> NarrowBatch:
    matrix = sparse.csr_matrix(batch)
    if not matrix.has_canonical_format:
        matrix = (
            matrix.copy() if matrix is batch or np.shares_memory(matrix.data, _values_of(batch)) else matrix
        )
        matrix.sum_duplicates()
    start, stop = int(matrix.indptr[0]), int(matrix.indptr[-1])
    indices = matrix.indices[start:stop].astype(index_type(n_genes), copy=False)
    indptr = matrix.indptr.astype(np.int64) - start
    return NarrowBatch(matrix.shape[0], narrow_values(matrix.data[start:stop]), indices, indptr)


def _values_of(batch: Any) -> NDArray[Any]:
    data = getattr(batch, "data", None)
    return data if isinstance(data, np.ndarray) else np.empty(0)


def _narrow_dense(batch: Any) -> NarrowBatch:
    values = batch.toarray() if sparse.issparse(batch) else np.asarray(batch)
    return NarrowBatch(values.shape[0], values.astype(np.float32, copy=False))


def _require_counts(values: NDArray[Any], first_row: int) -> None:
    if values.size and not float(values.min()) >= 0:
        raise SchemaError(
            f"The batch at source row {first_row} declares counts but holds negative or missing values. "
            "Declare another normalisation, for instance log1p_cpm."
        )
