"""How rows are read: held in memory where they fit, else from disk through a cache of blocks.

Both kinds answer the same two questions, so that nothing above knows which one it has.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import psutil  # type: ignore[import-untyped]
import scipy.sparse as sparse
from numpy.typing import NDArray

from pertcast_data.errors import ConfigError, CorruptStore
from pertcast_data.store.densify import densify_rows, gather_csr, normalise_dense
from pertcast_data.store.info import StoreInfo
from pertcast_data.store.manifest import Manifest, record_problem
from pertcast_data.store.zarr_layout import open_array
from pertcast_data.vocabulary import Normalisation

ReaderMode = Literal["auto", "memory", "disk"]
_CGROUP = Path("/sys/fs/cgroup")


class RowReader(Protocol):
    """Reads rows of a store in any order."""

    @property
    def is_in_memory(self) -> bool:
        """Whether every row is held in memory."""
        ...

    def dense(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return (M, G) float32: `rows` under the store's normalisation; IndexError for a row outside it."""
        ...

    def raw(self, rows: NDArray[np.int64]) -> NDArray[Any] | sparse.csr_matrix:
        """Return `rows` as stored: an array, or a CSR matrix."""
        ...

    def announce(self, rows: NDArray[np.int64]) -> None:
        """Say which rows will be asked for soon; a reader on disk fetches them meanwhile."""
        ...


class MemoryDenseReader:
    """All rows of a dense matrix in one array; rows of counts are normalised as they are asked for."""

    is_in_memory = True

    def __init__(self, values: NDArray[Any], normalisation: Normalisation) -> None:
        self._values = values
        self._normalisation = normalisation

    def dense(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return (M, G) float32, normalised."""
        return normalise_dense(self.raw(rows), self._normalisation)

    def raw(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return (M, G) as stored; always a copy."""
        return self._values[checked_rows(rows, len(self._values))]

    def announce(self, rows: NDArray[np.int64]) -> None:
        """Do nothing: every row is here."""


class MemoryCsrReader:
    """All rows of a sparse matrix in its compact types; a batch is made dense when it is asked for."""

    is_in_memory = True

    def __init__(
        self,
        indices: NDArray[Any],
        values: NDArray[Any],
        indptr: NDArray[np.int64],
        n_genes: int,
        normalisation: Normalisation,
    ) -> None:
        self._indices = indices
        self._values = values
        self._indptr = indptr
        self._n_genes = n_genes
        self._normalisation = normalisation

    def dense(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return (M, G) float32, normalised."""
        return densify_rows(*self._views(rows), self._n_genes, self._normalisation)

    def raw(self, rows: NDArray[np.int64]) -> sparse.csr_matrix:
        """Return a CSR matrix (M, G) of the stored values."""
        return gather_csr(*self._views(rows), self._n_genes, self._values.dtype)

    def announce(self, rows: NDArray[np.int64]) -> None:
        """Do nothing: every row is here."""

    def _views(self, rows: NDArray[np.int64]) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
        rows = checked_rows(rows, len(self._indptr) - 1)
        spans = list(zip(self._indptr[rows].tolist(), self._indptr[rows + 1].tolist(), strict=True))
        return [self._indices[a:b] for a, b in spans], [self._values[a:b] for a, b in spans]


def checked_rows(rows: NDArray[np.int64], n_rows: int) -> NDArray[np.int64]:
    """Return `rows` as a 1-D int64 array; IndexError where one is not in 0..n_rows-1."""
    checked = np.asarray(rows, dtype=np.int64).reshape(-1)
    if checked.size and (int(checked.min()) < 0 or int(checked.max()) >= n_rows):
        raise IndexError(
            f"Rows {int(checked.min())}..{int(checked.max())} asked of a store with {n_rows} rows."
        )
    return checked


def stored_bytes(path: Path, info: StoreInfo) -> int:
    """Return the bytes that holding X in memory takes."""
    if info.layout == "dense":
        return info.n_rows * info.n_genes * int(open_array(path, "X", "r").dtype.itemsize)
    per_value = sum(open_array(path, f"X/{name}", "r").dtype.itemsize for name in ("indices", "data"))
    return int(info.n_values * per_value + 8 * (info.n_rows + 1))


def available_memory() -> int:
    """Return the bytes this process may still take: of the machine, or of its container if less."""
    available = int(psutil.virtual_memory().available)
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return available
    return min(available, max(0, int(limit) - used)) if limit.isdigit() else available


def fits_in_memory(path: Path, info: StoreInfo, limit: int | None) -> bool:
    """Whether X fits into `limit` bytes (half of what is available by default)."""
    return stored_bytes(path, info) <= (available_memory() // 2 if limit is None else limit)


def load_into_memory(path: Path, info: StoreInfo, manifest: Manifest) -> RowReader:
    """Read X whole, after its checksums have been compared.

    Raises
    ------
    CorruptStore
        A shard does not have the checksum that the manifest states.
    """
    for record in manifest.records:
        problem = record_problem(path, record, checksum=True)
        if problem is not None:
            raise CorruptStore(f"{path / record.path}: {problem}. Restore it, or ingest the source again.")
    if info.layout == "dense":
        return MemoryDenseReader(np.asarray(open_array(path, "X", "r")[:]), info.normalisation)
    parts = {
        name: np.asarray(open_array(path, f"X/{name}", "r")[:]) for name in ("indices", "data", "indptr")
    }
    return MemoryCsrReader(parts["indices"], parts["data"], parts["indptr"], info.n_genes, info.normalisation)


def require_mode(mode: str) -> None:
    """Raise ConfigError for a reading mode that does not exist."""
    if mode not in ("auto", "memory", "disk"):
        raise ConfigError(f"Unknown reader mode {mode!r}; use auto, memory or disk.")
