"""Reads rows of the arrays of a screen: predicted responses, their layers, ranks of genes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pertcast_data.store.zarr_layout import open_array

_SPARSE: Final = 4
"""Rows are read with all that lies between them where they span at most so many times their number."""


class ProfileRead:
    """Reads profiles of a screen by row, (M,) int64 -> (M, G) float32."""

    def __init__(self, root: Path, name: str = "X") -> None:
        self._array = open_array(root, name, mode="r")

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read rows; runs of neighbouring rows are read at once."""
        return self.exact(rows).astype(np.float32)

    @property
    def shard_rows(self) -> int:
        """Rows of one file."""
        return int((self._array.shards or self._array.chunks)[0])

    def exact(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Read rows as they are stored."""
        first, last = int(rows.min()), int(rows.max()) + 1
        if last - first <= _SPARSE * len(rows):
            block: NDArray[Any] = np.asarray(self._array[first:last])[rows - first]
            return block
        found: NDArray[Any] = np.asarray(self._array.oindex[rows])
        return found
