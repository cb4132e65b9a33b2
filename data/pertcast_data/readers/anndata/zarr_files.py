"""Opening Zarr groups, in a folder or a zip, so that whatever is wrong with them becomes a FormatError.

Zarr takes an absent chunk for the fill value. Here it is counted, or refused where it cannot be meant.
"""

from __future__ import annotations

import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import polars as pl
import zarr
from zarr.storage import LocalStore, ZipStore

from pertcast_data.errors import FormatError

_GROUP_FILES: Final = ("zarr.json", ".zgroup")
_CHUNK_KEY: Final = re.compile(r"(c[./])?\d+([./]\d+)*")
# What the libraries raise when they meet damaged bytes, found by damaging files at random.
_BROKEN: Final = (
    *(OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError),
    *(MemoryError, AssertionError, EOFError, SyntaxError, SystemError),
    *(zlib.error, struct.error, zipfile.BadZipFile),
    pl.exceptions.PolarsError,
)


def zarr_names(path: Path) -> set[str]:
    """Return the names at the root of a Zarr group in a folder or zip; empty where it is none."""
    if path.is_dir():
        names = {entry.name for entry in path.iterdir()}
    else:
        try:
            with zipfile.ZipFile(path) as archive:
                names = {name.split("/")[0] for name in archive.namelist()}
        except _BROKEN:
            return set()
    return names if names.intersection(_GROUP_FILES) else set()


@contextmanager
def open_zarr(path: Path) -> Iterator[Any]:
    """Open the group at `path` for reading; library errors inside the block become FormatError."""
    remedy = "The store is incomplete or damaged: copy or download it again and compare its files."
    store = None
    try:
        store = LocalStore(path, read_only=True) if path.is_dir() else ZipStore(path, mode="r")
        # Not the consolidated metadata: they would name arrays whose own files are gone.
        yield zarr.open_group(store, mode="r", use_consolidated=False)
    except _BROKEN as error:
        raise FormatError(f"{path}: cannot be read as Zarr ({_brief(error)}). {remedy}") from error
    finally:
        if store is not None:
            store.close()


class ChunkFiles:
    """Which chunks of a Zarr store have files.

    Parameters
    ----------
    path
        A folder or a zip.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._zipped: frozenset[str] | None = None
        if not path.is_dir():
            with zipfile.ZipFile(path) as archive:
                self._zipped = frozenset(archive.namelist())

    def has(self, key: str) -> bool:
        """Return whether there is a file of that path inside the store."""
        return key in self._zipped if self._zipped is not None else (self._path / key).is_file()

    def count_absent(self, array: Any) -> tuple[int, int]:
        """Return how many chunk files of an array are absent, and of how many."""
        n_chunks = math.prod(_grid(array))
        found = sum(1 for key in self._keys(array.path) if _CHUNK_KEY.fullmatch(key))
        return max(n_chunks - found, 0), n_chunks

    def _keys(self, folder: str) -> Iterator[str]:
        if self._zipped is not None:
            start = f"{folder}/"
            yield from (name.removeprefix(start) for name in self._zipped if name.startswith(start))
            return
        root = self._path / folder
        for place, _, names in os.walk(root):
            inside = Path(place).relative_to(root)
            yield from ((inside / name).as_posix() for name in names)


class CompleteArray:
    """A Zarr array of one dimension whose slices are refused where a chunk has no file.

    Parameters
    ----------
    array
        The Zarr array.
    files
        Of its store.
    where
        File, for messages.
    """

    def __init__(self, array: Any, files: ChunkFiles, where: str) -> None:
        self._array, self._files, self._where = array, files, where
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, part: slice) -> Any:
        size = _chunk_sizes(self._array)[0]
        low, high, _ = part.indices(self.shape[0])
        for chunk in range(low // size, -(-high // size)) if high > low else ():
            key = f"{self._array.path}/{self._array.metadata.encode_chunk_key((chunk,))}"
            if not self._files.has(key):
                raise FormatError(
                    f"{self._where}: the file {key} is missing, and the matrix has entries there. The store "
                    "is incomplete: copy or download it again."
                )
        return self._array[part]


def _chunk_sizes(array: Any) -> tuple[int, ...]:
    """Return the shape of what one file holds: a shard where there are shards."""
    return tuple(int(size) for size in (array.shards or array.chunks))


def _grid(array: Any) -> list[int]:
    return [-(-size // chunk) for size, chunk in zip(array.shape, _chunk_sizes(array), strict=True)]


def _brief(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) < 300 else f"{text[:300]}..."
