"""What AnnData in HDF5 and in Zarr have in common: the choice of a matrix, its layout, obs and var.

A matrix is dense, CSR or CSC (read through a temporary file). Values keep the file's number type; CSR rows
come with sorted indices and without duplicates.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl

from pertcast_data.errors import FormatError, nearest_known
from pertcast_data.readers.anndata.tables import TableParts, is_array, read_table, table_length
from pertcast_data.readers.compressed_rows import CompressedRows
from pertcast_data.readers.dense_rows import chunk_rows, dense_batches
from pertcast_data.readers.source import ProfileBatch, SourceSchema, entries_per_batch, row_range
from pertcast_data.readers.spill import RowOrdered, csc_to_row_order
from pertcast_data.text import decode

_Encoding = Literal["dense", "csr", "csc"]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a matrix lies in the file: its key, the key of its genes, and its name in messages."""

    key: str
    var: str

    @property
    def name(self) -> str:
        return self.key.replace("raw.X", "raw/X")


class AnnDataSource:
    """Profiles of one matrix of an AnnData file; the base of the HDF5 and the Zarr reader.

    Parameters
    ----------
    path
        The file or folder.
    matrix
        None or "X", "raw" (with its own genes), or "layers/NAME".

    Raises
    ------
    FormatError
        The file cannot be opened, has no such matrix, or the matrix, obs and var do not fit each other.
    """

    format_name: ClassVar[str]

    def __init__(self, path: Path, matrix: str | None = None) -> None:
        self.path = path
        self._turned: RowOrdered | None = None
        with self._opened() as root:
            self._place = _find_matrix(root, matrix, path)
            node, name = root[self._place.key], self._place.name
            lengths = (table_length(root, "obs", path), table_length(root, self._place.var, path))
            self._encoding = _encoding(node, self._place, path)
            self._shape = _shape(node, lengths)
            values = node if self._encoding == "dense" else node["data"]
            self._dtype = str(values.dtype)
            if values.dtype.kind not in "biuf":
                raise FormatError(
                    f"{path}: {name} holds {values.dtype} and no real numbers. Write it as float32."
                )
            self._is_splittable = self._encoding == "csr" or (
                self._encoding == "dense" and (chunk_rows(node) or 0) <= max(self._shape[0] // 2, 1024)
            )
        if lengths != self._shape:
            raise FormatError(
                f"{path}: {name} is {self._shape[0]} x {self._shape[1]}, but obs has {lengths[0]} rows and "
                f"{self._place.var} {lengths[1]}. Write the file again with anndata."
            )

    def _opened(self) -> AbstractContextManager[Any]:
        """Open the file; whatever is wrong with it inside the block becomes a FormatError."""
        raise NotImplementedError

    def _checked(self, array: Any) -> Any:
        """Return an array whose slices may be trusted."""
        return array

    def _notes(self) -> list[str]:
        """Return what a subclass has to tell of the matrix."""
        return []

    def schema(self) -> SourceSchema:
        """Return shape, layout and number type."""
        return self._schema

    @cached_property
    def _schema(self) -> SourceSchema:
        notes = [
            f"columns of {name} that cannot be read were left out: {', '.join(parts.unread)}"
            for name, parts in (("obs", self._obs_parts), ("var", self._var_parts))
            if parts.unread
        ]
        if self._encoding == "csc":
            notes.append(f"{self._place.name} is CSC: brought into row order through a temporary file")
        if self._place.key != "X":
            notes.append(f"read from {self._place.name}")
        return SourceSchema(
            path=self.path,
            format=self.format_name,
            n_rows=self._shape[0],
            n_genes=self._shape[1],
            layout="dense" if self._encoding == "dense" else "csr",
            dtype=self._dtype,
            notes=(*notes, *self._notes()),
            is_splittable=self._is_splittable,
        )

    def obs(self) -> pl.DataFrame:
        """Return obs; categorical columns as text."""
        return self._obs_parts.frame()

    def var(self) -> pl.DataFrame:
        """Return var (of raw where raw is read); a named index is also a column of that name."""
        return self._var_parts.frame()

    @cached_property
    def _obs_parts(self) -> TableParts:
        return self._table("obs")

    @cached_property
    def _var_parts(self) -> TableParts:
        return self._table(self._place.var)

    def _table(self, name: str) -> TableParts:
        with self._opened() as root:
            return read_table(root, name, self.path)

    def batches(
        self, rows: int | None = None, start: int = 0, stop: int | None = None
    ) -> Iterator[ProfileBatch]:
        """Yield the profiles start..stop in file order: arrays or CSR matrices of the file's number type."""
        with self._opened() as root:
            node = root[self._place.key]
            if self._encoding == "dense":
                low, high = row_range(self._shape[0], start, stop)
                yield from dense_batches(self._checked(node), self._shape[1], rows, low, high)
            else:
                yield from self._rows(node).batches(rows, start, stop)

    def _rows(self, node: Any) -> CompressedRows:
        indptr, indices, data = (self._checked(node[name]) for name in ("indptr", "indices", "data"))
        where = f"{self.path}: {self._place.name}"
        if self._encoding == "csc":
            n_genes = self._shape[1]
            columns = CompressedRows(indptr, indices, data, (n_genes, self._shape[0]), where)
            indptr, indices, data = self._in_row_order(columns)
        return CompressedRows(indptr, indices, data, self._shape, where)

    def _in_row_order(self, columns: CompressedRows) -> RowOrdered:
        """Return a CSC matrix as CSR on disk; it is turned once for each source."""
        if self._turned is None:
            indptr = columns.checked_pointers()
            self._turned = csc_to_row_order(
                indptr, columns.indices, columns.data, self._shape[0], entries_per_batch()
            )
        return self._turned


def _find_matrix(root: Any, matrix: str | None, path: Path) -> _Place:
    there = _matrices(root)
    wanted = "X" if matrix is None else matrix.strip("/")
    if wanted in there:
        return there[wanted]
    offered = ", ".join(there) or "no matrix at all"
    if matrix is None:
        raise FormatError(
            f"{path}: has no matrix X; it holds {offered}. Name one of these in the mapping file "
            "(`matrix: layers/counts`), or write the file with X filled."
        )
    near = nearest_known(wanted, there) or [name for name in there if name.endswith(f"/{wanted}")]
    hint = f" Nearest: {near[0]}." if near else ""
    raise FormatError(
        f"{path}: has no matrix {matrix!r} (`matrix:` in the mapping file); it holds {offered}.{hint} "
        "Write X, raw or layers/NAME."
    )


def _matrices(root: Any) -> dict[str, _Place]:
    """Return the matrices of the file by the names by which they are asked for."""
    found = {"X": _Place("X", "var")} if "X" in root and _holds_numbers(root["X"]) else {}
    if "raw.X" in root:
        found["raw"] = _Place("raw.X", "raw.var")
    elif "raw" in root and not hasattr(root["raw"], "shape") and "X" in root["raw"]:
        found["raw"] = _Place("raw/X", "raw/var")
    if "layers" in root and not hasattr(root["layers"], "shape"):
        found |= {f"layers/{name}": _Place(f"layers/{name}", "var") for name in sorted(root["layers"])}
    return found


def _holds_numbers(node: Any) -> bool:
    """Return whether X is there: an AnnData without X may say so by a null in its place."""
    return is_array(node) or (not hasattr(node, "shape") and "data" in node)


def _encoding(node: Any, place: _Place, path: Path) -> _Encoding:
    if is_array(node):
        return "dense"
    declared = decode(node.attrs.get("encoding-type", node.attrs.get("h5sparse_format", "")))
    if declared.startswith("csr"):
        return "csr"
    if declared.startswith("csc"):
        return "csc"
    raise FormatError(
        f"{path}: {place.name} is stored as {declared or 'an unknown group'}; known: dense, CSR, CSC. "
        "Write it as one of these."
    )


def _shape(node: Any, lengths: tuple[int, int]) -> tuple[int, int]:
    if not is_array(node):
        shape = node.attrs["shape"] if "shape" in node.attrs else node.attrs["h5sparse_shape"]
        return int(shape[0]), int(shape[1])
    shape = tuple(int(size) for size in node.shape)
    if len(shape) == 1:
        # Old versions squeezed a matrix of one row or one column.
        return (1, shape[0]) if lengths[0] == 1 else (shape[0], 1)
    if len(shape) != 2:
        raise ValueError(f"the matrix has {len(shape)} dimensions: {np.array(shape)}")
    return shape[0], shape[1]
