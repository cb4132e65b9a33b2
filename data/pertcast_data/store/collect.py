"""The first pass over a source: its batches, checked, narrowed and dealt into buckets of one shard each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from pertcast_data.errors import SchemaError
from pertcast_data.progress import ProgressCallback
from pertcast_data.store.buckets import RowBuckets
from pertcast_data.store.info import Layout
from pertcast_data.store.row_blocks import (
    VALUE_TYPES,
    NarrowBatch,
    RowBlock,
    batch_layout,
    narrow_batch,
    widest,
)
from pertcast_data.vocabulary import Normalisation

SPILL_FOLDER: Final = ".rows"
_LARGEST_BUCKET_BYTES: Final = 1 << 27


@dataclass(frozen=True)
class BucketSpec:
    """How rows wait: rows a bucket, the folder of temporary files, and the bytes held in memory."""

    rows: int
    folder: Path
    memory_budget_bytes: int

    def fitting_rows(self, layout: Layout, n_genes: int) -> int:
        """Return the rows of a bucket, fewer where dense rows are wide: a bucket is assembled in memory."""
        if layout == "csr":
            return self.rows
        return max(1, min(self.rows, _LARGEST_BUCKET_BYTES // (4 * max(n_genes, 1))))


@dataclass(frozen=True)
class CollectedRows:
    """All rows of the source, dealt into buckets; what only reading them could tell."""

    layout: Layout
    buckets: RowBuckets
    n_rows: int
    bucket_rows: int
    n_values: int
    value_type: np.dtype[Any]

    def in_order(self) -> Iterator[tuple[int, list[RowBlock]]]:
        """Yield the buckets in storage order; each is forgotten once it is taken."""
        for bucket in range(-(-self.n_rows // self.bucket_rows)):
            n_rows = min(self.bucket_rows, self.n_rows - bucket * self.bucket_rows)
            yield n_rows, self.buckets.take(bucket)
        self.buckets.close()


def collect_rows(
    batches: Iterable[Any],
    *,
    destination: NDArray[np.int64],
    n_genes: int,
    layout: Layout | Literal["auto"],
    normalisation: Normalisation,
    buckets: BucketSpec,
    progress: ProgressCallback,
) -> CollectedRows:
    """Deal every row of `batches` into the bucket of its destination.

    Parameters
    ----------
    batches
        In source order, see `create_store`.
    destination
        (n_rows,) int64, stored row of each source row.

    Raises
    ------
    SchemaError
        There is no row, or the batches hold more or fewer rows than `destination`.
    """
    n_rows = len(destination)
    if not n_rows:
        raise SchemaError("There are no rows to store: obs is empty.")
    arriving = iter(batches)
    first = next(arriving, None)
    chosen: Layout = batch_layout(first) if layout == "auto" else layout
    bucket_rows = buckets.fitting_rows(chosen, n_genes)
    waiting = RowBuckets(
        -(-n_rows // bucket_rows), buckets.folder / SPILL_FOLDER, buckets.memory_budget_bytes
    )
    value_type, n_values, first_row = VALUE_TYPES[0], 0, 0
    arriving = chain(() if first is None else (first,), arriving)
    del first  # else the batch would stay in memory
    for batch in arriving:
        narrow = narrow_batch(batch, chosen, n_genes, normalisation, first_row)
        places = destination[first_row : first_row + narrow.n_rows]
        if len(places) < narrow.n_rows:
            raise SchemaError(f"The batches hold more than the {n_rows} rows of obs.")
        _deal(narrow, places, bucket_rows, waiting)
        n_values += narrow.values.size
        if chosen == "csr":
            value_type = widest(value_type, narrow.values.dtype)
        first_row += narrow.n_rows
        progress(first_row, 2 * n_rows, "reading")
    if first_row != n_rows:
        raise SchemaError(f"The batches hold {first_row} rows, obs has {n_rows}.")
    return CollectedRows(chosen, waiting, n_rows, bucket_rows, n_values, value_type)


def inverse_permutation(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the stored row of each source row, given the source row of each stored row."""
    inverse = np.empty(len(order), dtype=np.int64)
    inverse[order] = np.arange(len(order))
    return inverse


def _deal(batch: NarrowBatch, places: NDArray[np.int64], bucket_rows: int, waiting: RowBuckets) -> None:
    order = np.argsort(places, kind="stable")
    buckets = places[order] // bucket_rows
    borders = np.flatnonzero(np.diff(buckets)) + 1
    for part in np.split(order, borders):
        if len(part):
            bucket = int(places[part[0]] // bucket_rows)
            waiting.add(bucket, batch.take(part, places[part] - bucket * bucket_rows))
