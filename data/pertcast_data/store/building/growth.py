"""A store that grows: complete shards are taken over as they are, its other rows are a run like any other."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertcast_data.store.info import StoreInfo
from pertcast_data.store.manifest import ShardRecord, read_manifest
from pertcast_data.store.row_blocks import RowBlock
from pertcast_data.store.zarr_layout import open_array


@dataclass(frozen=True)
class Growth:
    """What stands before the new rows when a store grows: nothing, for a new one.

    Attributes
    ----------
    origin
        The store that grows.
    linked
        Records of its complete shards.
    first_shard
        Number of complete shards.
    """

    origin: Path = Path()
    linked: Sequence[ShardRecord] = ()
    first_shard: int = 0

    @classmethod
    def of(cls, path: Path, info: StoreInfo) -> Growth:
        """Return the growth that keeps every complete shard of the store at `path`."""
        names = _value_arrays(info)
        array = open_array(path, names[0], "r")
        complete = array.shape[0] // (array.shards or array.chunks)[0]
        linked = [record for record in read_manifest(path).records if _number(record.path, names) < complete]
        return cls(path, linked, complete)

    def link_into(self, path: Path) -> list[ShardRecord]:
        """Give the complete shards a second name under `path` (a copy where links are not possible)."""
        for record in self.linked:
            target = path / record.path
            target.parent.mkdir(parents=True, exist_ok=True)
            if record.bytes and not target.exists():
                _link(self.origin / record.path, target)
        return list(self.linked)


class StoreRun:
    """The rows of a store at their own places, read as they are asked for.

    Parameters
    ----------
    path, info
        Of the store.
    """

    def __init__(self, path: Path, info: StoreInfo) -> None:
        self._arrays = [open_array(path, name, "r") for name in _value_arrays(info)]
        self._n_rows = info.n_rows
        self._pointers: NDArray[np.int64] = np.empty(0, np.int64)
        if info.layout == "csr":
            self._pointers = np.asarray(open_array(path, "X/indptr", "r")[:], dtype=np.int64)
        self.n_values = info.n_values

    @property
    def value_type(self) -> np.dtype[Any]:
        """Type of its values."""
        return np.dtype(self._arrays[-1].dtype)

    def places(self) -> NDArray[np.int64]:
        """Return the row numbers."""
        return np.arange(self._n_rows)

    def lengths(self) -> NDArray[np.int64]:
        """Return the stored values of each row; empty where rows are dense."""
        return np.diff(self._pointers)

    def between(self, first: int, stop: int) -> RowBlock:
        """Read rows first..stop-1, as far as there are."""
        first, stop = min(first, self._n_rows), min(stop, self._n_rows)
        positions = np.arange(stop - first)
        if not self._pointers.size:
            return RowBlock(positions, self._pointers, (np.asarray(self._arrays[0][first:stop]),))
        begin, end = int(self._pointers[first]), int(self._pointers[stop])
        arrays = tuple(np.asarray(array[begin:end]) for array in self._arrays)
        return RowBlock(positions, np.diff(self._pointers[first : stop + 1]), arrays)


def _value_arrays(info: StoreInfo) -> tuple[str, ...]:
    return ("X/indices", "X/data") if info.layout == "csr" else ("X",)


def _number(path: str, arrays: tuple[str, ...]) -> float:
    """Return the number of a shard of the value arrays; infinite for every other file."""
    array, _, coordinates = path.partition("/c/")
    return int(coordinates.split("/")[0]) if array in arrays else float("inf")


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        with target.open("rb") as file:
            os.fsync(file.fileno())
