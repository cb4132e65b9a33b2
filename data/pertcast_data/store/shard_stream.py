"""Writes an array of unknown arrival in whole shards: pieces of any length in, aligned shards out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertcast_data.errors import SchemaError
from pertcast_data.store.manifest import ShardRecord
from pertcast_data.store.zarr_layout import open_array, write_array_shard


class ShardStream:
    """Appends along the first axis of a sharded array, writing a shard whenever one is full.

    Parameters
    ----------
    root
        The dataset.
    name
        Path of the array in it; created by `create_array` with its final shape.
    first_shard
        Shards before this one are complete already (they were linked from an older version).
    """

    def __init__(self, root: Path, name: str, first_shard: int = 0) -> None:
        self._root = root
        self._name = name
        self._array = open_array(root, name)
        self._shard_length: int = (self._array.shards or self._array.shape)[0]
        self._shard_index = first_shard
        self._waiting: list[NDArray[Any]] = []
        self._waiting_length = 0
        self.records: list[ShardRecord] = []

    def append(self, values: NDArray[Any]) -> None:
        """Add `values` after what was added before."""
        while len(values):
            piece = values[: self._shard_length - self._waiting_length]
            self._waiting.append(piece)
            self._waiting_length += len(piece)
            values = values[len(piece) :]
            if self._waiting_length == self._shard_length:
                self._flush()

    def close(self) -> list[ShardRecord]:
        """Write the last, shorter shard and return the records of all shards written.

        Raises
        ------
        SchemaError
            Fewer or more values arrived than the array holds.
        """
        if self._waiting_length:
            self._flush()
        expected = -(-self._array.shape[0] // self._shard_length)
        if self._shard_index != expected:
            raise SchemaError(f"{self._name} needs {expected} shards, {self._shard_index} were written.")
        return self.records

    def _flush(self) -> None:
        whole = self._waiting[0] if len(self._waiting) == 1 else np.concatenate(self._waiting)
        self._waiting.clear()
        self._waiting_length = 0
        self.records.append(write_array_shard(self._root, self._array, self._name, self._shard_index, whole))
        self._shard_index += 1
