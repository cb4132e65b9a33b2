"""Rows read from disk by whole blocks, kept for as long as a shuffling buffer needs them.

A shuffled batch takes a row or two from each of hundreds of blocks, and the following batches take the
rest: each block is read and decoded once, with all others that miss, in one joint fetch; ahead of its use
where the rows were announced.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Final

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from pertcast_data.store.densify import densify_rows, gather_csr, normalise_dense
from pertcast_data.store.fetch import SliceRequest, fetch_slices
from pertcast_data.store.info import StoreInfo
from pertcast_data.store.read_ahead import ReadAhead
from pertcast_data.store.readers import RowReader, available_memory, checked_rows
from pertcast_data.store.zarr_layout import open_array

CACHED_ROWS: Final = 3 * 16_384
"""Rows kept by default: the shuffling buffer in use, the rest of the last one, and the next one."""
_MOST_AHEAD: Final = 2
# Ranks above every tick: blocks under way must not lose their slot, then those of the request in hand.
_UNDER_WAY: Final = np.iinfo(np.int64).max
_IN_HAND: Final = _UNDER_WAY - 1
_ANNOUNCED: Final = _UNDER_WAY - 2


FetchSlices = Callable[[Sequence[SliceRequest]], None]
"""Reads slices into their places; that of a mirror brings their shards first."""


def read_local_slices(requests: Sequence[SliceRequest]) -> None:
    """Read slices of arrays whose files are all there."""
    fetch_slices(requests)


def open_on_disk(
    path: Path, info: StoreInfo, cached_rows: int = CACHED_ROWS, fetch: FetchSlices = read_local_slices
) -> RowReader:
    """Return a reader that leaves X on disk and keeps about `cached_rows` rows (fewer if memory is short).

    `fetch` reads every slice of X but the row pointers of a sparse one, which must be there.
    """
    row_bytes = info.n_genes * 4 if info.layout == "dense" else 8 * -(-info.n_values // max(info.n_rows, 1))
    affordable = available_memory() // 4 // max(row_bytes, 1)
    blocks = max(1, min(cached_rows, affordable, info.n_rows) // info.chunk_rows)
    return (DiskDenseReader if info.layout == "dense" else DiskCsrReader)(path, info, blocks, fetch)


_SparseBlock = tuple[NDArray[Any], NDArray[Any]]
"""Gene indices and values of a block's rows."""


class DiskDenseReader:
    """Blocks of a dense matrix in the slots of one array, the least recently used replaced first.

    Parameters
    ----------
    path, info
        Of the store.
    n_slots
        Blocks of `info.chunk_rows` rows to keep.
    fetch
        How slices are read.
    """

    is_in_memory = False

    def __init__(
        self, path: Path, info: StoreInfo, n_slots: int, fetch: FetchSlices = read_local_slices
    ) -> None:
        self._array = open_array(path, "X", "r")
        self._fetch_slices = fetch
        self._info = info
        self._block_rows = info.chunk_rows
        n_blocks = -(-info.n_rows // self._block_rows)
        self._cached = np.empty((n_slots * self._block_rows, info.n_genes), dtype=self._array.dtype)
        self._slot_of_block = np.full(n_blocks, -1, dtype=np.int64)
        self._block_of_slot = np.full(n_slots, -1, dtype=np.int64)
        self._last_used = np.zeros(n_slots, dtype=np.int64)
        self._is_filled = np.zeros(n_slots, dtype=np.bool_)
        self._tick = 0
        self._announced = np.empty(0, dtype=np.int64)
        self._ahead: ReadAhead[NDArray[np.int64]] = ReadAhead()
        self._lock = Lock()

    def dense(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return (M, G) float32, normalised."""
        return normalise_dense(self.raw(rows), self._info.normalisation)

    def raw(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return (M, G) as stored; always a copy."""
        rows = checked_rows(rows, self._info.n_rows)
        blocks, offsets = np.divmod(rows, self._block_rows)
        with self._lock:
            if self._are_held(blocks):
                return self._rows_at(blocks, offsets)
            distinct = np.unique(blocks)
            n_slots = len(self._block_of_slot)
            if len(distinct) <= n_slots:
                self._hold(distinct)
                return self._rows_at(blocks, offsets)
            out = np.empty((len(rows), self._info.n_genes), dtype=self._cached.dtype)
            for start in range(0, len(distinct), n_slots):
                part = distinct[start : start + n_slots]
                chosen = np.flatnonzero((blocks >= part[0]) & (blocks <= part[-1]))
                self._hold(part)
                out[chosen] = self._rows_at(blocks[chosen], offsets[chosen])
            return out

    def announce(self, rows: NDArray[np.int64]) -> None:
        """Begin to fetch `rows`, which will be asked for soon; too many of them are left alone."""
        distinct = np.unique(checked_rows(rows, self._info.n_rows) // self._block_rows)
        with self._lock:
            while len(self._ahead) >= _MOST_AHEAD:
                self._finish_oldest()
            # What was announced before comes next, whenever the rows before it last used the same block.
            in_use = self._slot_of_block[self._announced]
            in_use = in_use[in_use >= 0]
            self._last_used[in_use] = np.maximum(self._last_used[in_use], _ANNOUNCED)
            self._announced = distinct
            slots = self._slot_of_block[distinct]
            missing = distinct[slots < 0]
            if not len(missing) or _MOST_AHEAD * len(distinct) > len(self._block_of_slot):
                return
            held = slots[slots >= 0]
            self._last_used[held] = np.maximum(self._last_used[held], _ANNOUNCED)
            assigned = self._assign(missing)
            self._last_used[assigned] = _UNDER_WAY
            self._ahead.begin(lambda: self._fetch(missing, assigned))

    def _are_held(self, blocks: NDArray[np.int64]) -> bool:
        """Whether every block has a filled slot, once what was announced for them has arrived."""
        slots = self._slot_of_block[blocks]
        if not len(slots):
            return True
        if int(slots.min()) < 0:
            return False
        while len(self._ahead) and not self._is_filled[slots].all():
            self._finish_oldest()
        return bool(self._is_filled[slots].all())

    def _rows_at(self, blocks: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[Any]:
        slots = self._slot_of_block[blocks]
        self._tick += 1
        self._last_used[slots] = self._tick
        taken: NDArray[Any] = self._cached[slots * self._block_rows + offsets]
        return taken

    def _hold(self, distinct: NDArray[np.int64]) -> None:
        """Make every block of `distinct` (sorted) present."""
        while len(self._ahead):
            self._finish_oldest()
        slots = self._slot_of_block[distinct]
        self._last_used[slots[slots >= 0]] = _IN_HAND
        missing = distinct[slots < 0]
        if len(missing):
            assigned = self._assign(missing)
            self._finish(lambda: self._fetch(missing, assigned))

    def _assign(self, blocks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give `blocks` the slots of the least recently used ones; what they hold is not valid yet."""
        slots = np.sort(np.argpartition(self._last_used, len(blocks) - 1)[: len(blocks)])
        evicted = self._block_of_slot[slots]
        self._slot_of_block[evicted[evicted >= 0]] = -1
        self._is_filled[slots] = False
        self._block_of_slot[slots] = blocks
        self._slot_of_block[blocks] = slots
        return slots

    def _fetch(self, blocks: NDArray[np.int64], slots: NDArray[np.int64]) -> NDArray[np.int64]:
        starts = blocks * self._block_rows
        lengths = np.minimum(self._block_rows, self._info.n_rows - starts)
        self._fetch_slices(
            [SliceRequest(self._array, starts, lengths, self._cached, slots * self._block_rows)]
        )
        return slots

    def _finish_oldest(self) -> None:
        self._finish(self._ahead.take)

    def _finish(self, fetched_slots: Callable[[], NDArray[np.int64]]) -> None:
        """Mark what a fetch has filled; after a failed one nothing that is cached counts any more."""
        succeeded = False
        try:
            slots = fetched_slots()
            succeeded = True
        finally:
            if not succeeded:
                self._ahead.drain()
                self._slot_of_block[:] = self._block_of_slot[:] = -1
                self._last_used[:] = 0
        self._is_filled[slots] = True
        self._last_used[slots] = _ANNOUNCED


class DiskCsrReader:
    """Blocks of a sparse matrix in their compact types, the least recently used forgotten first.

    Parameters
    ----------
    path, info
        Of the store.
    n_slots
        Blocks of `info.chunk_rows` rows to keep.
    fetch
        How slices are read.
    """

    is_in_memory = False

    def __init__(
        self, path: Path, info: StoreInfo, n_slots: int, fetch: FetchSlices = read_local_slices
    ) -> None:
        self._indices = open_array(path, "X/indices", "r")
        self._fetch_slices = fetch
        self._values = open_array(path, "X/data", "r")
        self._indptr: NDArray[np.int64] = np.asarray(open_array(path, "X/indptr", "r")[:], dtype=np.int64)
        self._info = info
        self._block_rows = info.chunk_rows
        self._n_slots = n_slots
        self._cached: OrderedDict[int, _SparseBlock] = OrderedDict()
        self._announced: list[int] = []
        self._ahead: ReadAhead[dict[int, _SparseBlock]] = ReadAhead()
        self._lock = Lock()

    def dense(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return (M, G) float32, normalised."""
        return densify_rows(*self._views(rows), self._info.n_genes, self._info.normalisation)

    def raw(self, rows: NDArray[np.int64]) -> sparse.csr_matrix:
        """Return a CSR matrix (M, G) of the stored values."""
        return gather_csr(*self._views(rows), self._info.n_genes, np.dtype(self._values.dtype))

    def announce(self, rows: NDArray[np.int64]) -> None:
        """Begin to fetch `rows`, which will be asked for soon; too many of them are left alone."""
        distinct = np.unique(checked_rows(rows, self._info.n_rows) // self._block_rows).tolist()
        with self._lock:
            while len(self._ahead) >= _MOST_AHEAD:
                self._cached.update(self._ahead.take())
            # What was announced before comes next, whenever the rows before it last used the same block.
            in_use = [block for block in self._announced if block in self._cached]
            for block in in_use:
                self._cached.move_to_end(block)
            known = self._cached.keys() | set(self._announced if len(self._ahead) else ())
            self._announced = distinct
            missing = [block for block in distinct if block not in known]
            if not missing or _MOST_AHEAD * len(distinct) > self._n_slots:
                return
            self._ahead.begin(lambda: self._fetch(np.array(missing, dtype=np.int64)))

    def _views(self, rows: NDArray[np.int64]) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
        rows = checked_rows(rows, self._info.n_rows)
        blocks = rows // self._block_rows
        with self._lock:
            held = self._hold(np.unique(blocks))
        origin = self._indptr[blocks * self._block_rows]
        starts, stops = self._indptr[rows] - origin, self._indptr[rows + 1] - origin
        indices, values = [], []
        for block, start, stop in zip(blocks.tolist(), starts.tolist(), stops.tolist(), strict=True):
            block_indices, block_values = held[block]
            indices.append(block_indices[start:stop])
            values.append(block_values[start:stop])
        return indices, values

    def _hold(self, distinct: NDArray[np.int64]) -> dict[int, _SparseBlock]:
        """Return the blocks of `distinct` (sorted), fetching what is missing and forgetting the oldest."""
        wanted = distinct.tolist()
        while len(self._ahead) and not all(block in self._cached for block in wanted):
            self._cached.update(self._ahead.take())
        missing = [block for block in wanted if block not in self._cached]
        if missing:
            self._cached.update(self._fetch(np.array(missing, dtype=np.int64)))
        for block in wanted:
            self._cached.move_to_end(block)
        held = {block: self._cached[block] for block in wanted}
        while len(self._cached) > self._n_slots:
            self._cached.popitem(last=False)
        return held

    def _fetch(self, blocks: NDArray[np.int64]) -> dict[int, _SparseBlock]:
        starts = self._indptr[blocks * self._block_rows]
        last_rows = np.minimum((blocks + 1) * self._block_rows, self._info.n_rows)
        lengths = self._indptr[last_rows] - starts
        places = np.cumsum(lengths) - lengths
        total = int(lengths.sum())
        indices = np.empty(total, dtype=self._indices.dtype)
        values = np.empty(total, dtype=self._values.dtype)
        self._fetch_slices(
            [
                SliceRequest(self._indices, starts, lengths, indices, places),
                SliceRequest(self._values, starts, lengths, values, places),
            ]
        )
        spans = zip(blocks.tolist(), places.tolist(), (places + lengths).tolist(), strict=True)
        # Copies: a view would keep the whole fetch alive for as long as one of its blocks.
        return {block: (indices[a:b].copy(), values[a:b].copy()) for block, a, b in spans}
