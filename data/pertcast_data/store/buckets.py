"""Rows on their way from source order to storage order, in bounded memory.

The place of every row is known beforehand, so one pass deals the rows into buckets of one shard each;
what exceeds the budget waits in one temporary file a bucket.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pertcast_data.store.row_blocks import RowBlock


@dataclass(slots=True)
class _Bucket:
    held: list[RowBlock] = field(default_factory=list)
    spilled: list[tuple[tuple[np.dtype[Any], tuple[int, ...]], ...]] = field(default_factory=list)


class RowBuckets:
    """Buckets of row blocks, held in memory up to a budget and in temporary files beyond it.

    Parameters
    ----------
    n_buckets
        Number of buckets.
    folder
        Where temporary files go; it is created when needed.
    memory_budget_bytes
        Bytes to hold before all that is held is written out.
    """

    def __init__(self, n_buckets: int, folder: Path, memory_budget_bytes: int) -> None:
        self._buckets = [_Bucket() for _ in range(n_buckets)]
        self._folder = folder
        self._budget = memory_budget_bytes
        self._held_bytes = 0

    def add(self, bucket: int, block: RowBlock) -> None:
        """Put rows into a bucket."""
        self._buckets[bucket].held.append(block)
        self._held_bytes += block.nbytes
        if self._held_bytes > self._budget:
            self._spill()

    def take(self, bucket: int) -> list[RowBlock]:
        """Return a bucket's blocks in the order they were added, and forget them."""
        taken = self._buckets[bucket]
        self._buckets[bucket] = _Bucket()
        blocks = [*self._read(bucket, taken), *taken.held]
        self._held_bytes -= sum(block.nbytes for block in taken.held)
        return blocks

    def close(self) -> None:
        """Remove the folder of temporary files."""
        if self._folder.exists():
            shutil.rmtree(self._folder)

    def _spill(self) -> None:
        self._folder.mkdir(exist_ok=True)
        for number, bucket in enumerate(self._buckets):
            if not bucket.held:
                continue
            with self._file(number).open("ab") as file:
                for block in bucket.held:
                    arrays = (block.positions, block.lengths, *block.arrays)
                    for array in arrays:
                        file.write(np.ascontiguousarray(array).data)
                    bucket.spilled.append(tuple((array.dtype, array.shape) for array in arrays))
            bucket.held.clear()
        self._held_bytes = 0

    def _read(self, number: int, bucket: _Bucket) -> list[RowBlock]:
        if not bucket.spilled:
            return []
        blocks = []
        with self._file(number).open("rb") as file:
            for layout in bucket.spilled:
                arrays = [
                    np.fromfile(file, dtype=dtype, count=int(np.prod(shape))).reshape(shape)
                    for dtype, shape in layout
                ]
                blocks.append(RowBlock(arrays[0], arrays[1], tuple(arrays[2:])))
        self._file(number).unlink()
        return blocks

    def _file(self, number: int) -> Path:
        return self._folder / f"{number}.rows"
