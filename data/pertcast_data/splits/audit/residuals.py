"""Profiles minus the mean of their context, scaled to length 1, read a block at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Protocol

import numpy as np
import polars as pl
import scipy.sparse as sparse
from numpy.typing import NDArray

from pertcast_data.progress import ProgressCallback
from pertcast_data.splits.identity import ConditionStore

READ_ROWS: Final = 2_048
_FEW_DISTINCT: Final = 12
_FEW_VALUES: Final = 30


class ProfileStore(ConditionStore, Protocol):
    """A store whose profiles can be read."""

    def reader(self, mode: Any = ..., memory_limit_bytes: int | None = ...) -> Any:
        """Return a reader of rows."""
        ...


@dataclass(frozen=True)
class Residuals:
    """N treated rows of a store, ready to be read as residuals.

    Attributes
    ----------
    rows
        (N,) int64 rows of the store.
    digest
        (N,) uint64 hash of the stored values.
    tells
        (N,) whether a profile holds enough to be told from others: 30 values, or 12 distinct ones.
    """

    rows: NDArray[np.int64]
    digest: NDArray[np.uint64]
    tells: NDArray[np.bool_]
    _reader: Any
    _means: NDArray[np.float32]
    _context: NDArray[np.int64]

    @property
    def n_genes(self) -> int:
        """G."""
        return int(self._means.shape[1])

    def block(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return (M, G) float32 residuals of length 1 of the rows at `places` (0..N-1)."""
        values = self._reader.dense(self.rows[places]) - self._means[self._context[places]]
        values = np.nan_to_num(values - values.mean(axis=1, keepdims=True))
        length = np.linalg.norm(values, axis=1, keepdims=True).astype(np.float32)
        residual: NDArray[np.float32] = values / np.where(length > 0, length, 1)
        return residual


def read_residuals(store: ProfileStore, progress: ProgressCallback) -> Residuals:
    """Read the treated rows once, for their hashes and their contexts' means."""
    is_control = store.conditions["is_control"].to_numpy()[store.condition_of_row]
    rows = np.flatnonzero(~is_control).astype(np.int64)
    reader = store.reader("disk")
    cells = store.conditions["cell_iname"].fill_null("").cast(pl.String).to_numpy()
    _, context_of = np.unique(cells, return_inverse=True)
    context = context_of[store.condition_of_row[rows]].astype(np.int64)
    digest, tells = np.zeros(len(rows), np.uint64), np.zeros(len(rows), bool)
    sums: NDArray[np.float64] | None = None
    for start in range(0, len(rows), READ_ROWS):
        part = slice(start, start + READ_ROWS)
        digest[part], tells[part] = _fingerprints(reader.raw(rows[part]))
        profiles = reader.dense(rows[part])
        if sums is None:
            sums = np.zeros((int(context_of.max()) + 1, profiles.shape[1]))
        for each in np.unique(context[part]).tolist():
            sums[each] += np.nan_to_num(profiles[context[part] == each]).sum(axis=0, dtype=np.float64)
        progress(min(start + READ_ROWS, len(rows)), len(rows), "profiles read")
    counts = np.bincount(context, minlength=int(context_of.max(initial=0)) + 1)
    if sums is None:
        sums = np.zeros((len(counts), len(store.var)))
    means = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
    return Residuals(rows, digest, tells, reader, means, context)


def _fingerprints(raw: Any) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Return a hash of each row's stored values, and whether it says enough."""
    contents = _sparse_contents(raw) if sparse.issparse(raw) else _dense_contents(np.ascontiguousarray(raw))
    hashes, tells = np.zeros(raw.shape[0], np.uint64), np.zeros(raw.shape[0], bool)
    for row, (content, values) in enumerate(contents):
        hashes[row] = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")
        tells[row] = np.count_nonzero(values) >= _FEW_VALUES or len(np.unique(values)) >= _FEW_DISTINCT
    return hashes, tells


def _sparse_contents(raw: Any) -> Iterator[tuple[bytes, NDArray[Any]]]:
    raw.sort_indices()
    for begin, end in pairwise(raw.indptr):
        yield raw.indices[begin:end].tobytes() + raw.data[begin:end].tobytes(), raw.data[begin:end]


def _dense_contents(raw: NDArray[Any]) -> Iterator[tuple[bytes, NDArray[Any]]]:
    for row in raw:
        yield row.tobytes(), row
