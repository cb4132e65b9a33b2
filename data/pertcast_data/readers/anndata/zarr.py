"""AnnData in Zarr, versions 2 and 3, sharded or not, in a folder or a zip; Pertcast's own stores too.

A store of Pertcast is believed only as far as its manifest; of any other the chunk files are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from pertcast_data.errors import CorruptStore, FormatError
from pertcast_data.readers.anndata.source import AnnDataSource
from pertcast_data.readers.anndata.tables import TableParts, index_array, is_array
from pertcast_data.readers.anndata.zarr_files import ChunkFiles, CompleteArray, open_zarr, zarr_names

_MANIFEST = "manifest.json"


class ZarrAnnDataSource(AnnDataSource):
    """Profiles of one matrix of an AnnData group in Zarr.

    Parameters
    ----------
    path
        The folder, or a zip with the group at its root.
    matrix
        None or "X", "raw" (with its own genes), or "layers/NAME".

    Raises
    ------
    FormatError
        The store cannot be opened, has no such matrix, or chunks are missing that must be there.
    CorruptStore
        A store of Pertcast does not hold what its manifest says.
    """

    format_name: ClassVar[str] = "zarr"

    def __init__(self, path: Path, matrix: str | None = None) -> None:
        self._is_listed = path.is_dir() and (path / _MANIFEST).is_file()
        if self._is_listed:
            _require_whole(path)
        elif _MANIFEST in zarr_names(path):
            raise FormatError(f"{path}: is a store of Pertcast in a zip. Unpack it, then name the folder.")
        super().__init__(path, matrix)

    @staticmethod
    def detects(path: Path) -> bool:
        """Return whether this is a Zarr group with obs and var, or with a manifest of Pertcast."""
        names = zarr_names(path)
        return {"obs", "var"} <= names or (bool(names) and _MANIFEST in names)

    def _opened(self) -> AbstractContextManager[Any]:
        return open_zarr(self.path)

    @cached_property
    def _files(self) -> ChunkFiles:
        return ChunkFiles(self.path)

    def _checked(self, array: Any) -> Any:
        if self._is_listed:
            return array
        if self._encoding != "dense":
            is_empty_matrix = array.path.endswith("/indptr") and self._n_entries == 0
            return array if is_empty_matrix else CompleteArray(array, self._files, str(self.path))
        absent, total = self._files.count_absent(array)
        if absent and array.metadata.fill_value is None:
            raise FormatError(
                f"{self.path}: {absent} of {total} chunk files of {array.path} are missing. The store is "
                "incomplete: copy or download it again."
            )
        return array

    @cached_property
    def _n_entries(self) -> int:
        with self._opened() as root:
            return int(root[self._place.key]["data"].shape[0])

    def _table(self, name: str) -> TableParts:
        if not self._is_listed:
            with self._opened() as root:
                self._require_names(root, name)
        return super()._table(name)

    def _require_names(self, root: Any, table: str) -> None:
        """Refuse a table whose names or categories lost a chunk: they differ, so it cannot be one value."""
        names = index_array(root, table, self.path)
        for array in _arrays(root[table]):
            is_name = array.path == names.path or (array.path.endswith("/categories") and array.shape[0] > 1)
            absent, total = self._files.count_absent(array) if is_name else (0, 0)
            if absent:
                raise FormatError(
                    f"{self.path}: {absent} of {total} chunk files of {array.path} (names) are missing. The "
                    "store is incomplete: copy or download it again."
                )

    def _notes(self) -> list[str]:
        if self._is_listed:
            return []
        notes = []
        with self._opened() as root:
            node = root[self._place.key]
            absent, total = self._files.count_absent(node) if is_array(node) else (0, 0)
            if absent:
                notes.append(
                    f"{absent} of {total} chunk files of {self._place.name} are absent: Zarr leaves out "
                    f"chunks that hold only {node.fill_value}, so they are read as that; were they lost, the "
                    "store has to be copied again"
                )
            columns = [
                array.path
                for table in ("obs", self._place.var)
                for array in _arrays(root[table])
                if not array.path.endswith("/mask") and self._files.count_absent(array)[0]
            ]
        if columns:
            notes.append(
                f"chunk files of {', '.join(columns)} are absent and read as Zarr's fill value, as for "
                "columns of one value; were they lost, the store has to be copied again"
            )
        return notes


def _arrays(node: Any) -> Iterator[Any]:
    if is_array(node):
        yield node
        return
    for name in sorted(node):
        yield from _arrays(node[name])


def _require_whole(path: Path) -> None:
    """Raise CorruptStore unless every file that the manifest lists is there, and they are all of X."""
    # The store knows the readers' neighbours: at import time this would be a circle.
    from pertcast_data.store.manifest import check_files, read_manifest

    manifest = read_manifest(path)
    check_files(path, manifest)
    committed: Counter[str] = Counter()
    for record in manifest.records:
        committed[record.path.partition("/c/")[0]] += record.rows
    with open_zarr(path) as root:
        lengths = {name: int(root[name].shape[0]) for name in _names_of_parts(root)}
    for name, length in lengths.items():
        if committed[name] != length:
            raise CorruptStore(
                f"{path}: the manifest lists {committed[name]:,} of {length:,} rows of {name}. Writing it "
                "was not finished: finish it, or make it again."
            )


def _names_of_parts(root: Any) -> list[str]:
    if "X" not in root:
        return []
    return ["X"] if is_array(root["X"]) else [f"X/{name}" for name in ("data", "indices", "indptr")]
