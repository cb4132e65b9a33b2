"""Matrix Market matrices with their tables of features and barcodes: the folders of 10x, STARsolo and GEO.

The text is read once, in blocks, and brought into cell order through a temporary file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from pertcast_data.errors import FormatError
from pertcast_data.readers.compressed_rows import CompressedRows
from pertcast_data.readers.source import ProfileBatch, SourceSchema, entries_per_batch, refuse_choice
from pertcast_data.readers.spill import RowOrdered, entries_to_row_order, scratch_array
from pertcast_data.readers.tenx.guide_calls import cells_with_guides, find_guide_calls, name_prefixes
from pertcast_data.readers.tenx.matrix_market_text import is_matrix_market, read_entries, read_header
from pertcast_data.readers.tenx.tables import choose_genes, read_barcodes, read_features

_ENDINGS: Final = (".tsv.gz", ".tsv", ".txt.gz", ".txt")
_FEATURE_NAMES: Final = ("features", "genes")
_MATRIX_ENDINGS: Final = (".mtx", ".mtx.gz")


@dataclass(frozen=True, slots=True)
class _Files:
    """The three files of a matrix, and what their names begin with."""

    matrix: Path
    features: Path
    barcodes: Path
    prefix: str


class MatrixMarketSource:
    """Profiles of a folder with matrix.mtx, features.tsv (or genes.tsv) and barcodes.tsv, packed or not.

    Parameters
    ----------
    path
        The folder, the .mtx file itself, or what the names of the three files begin with
        ("GSE1/GSM123_") where a folder holds several.
    matrix
        None: there is one matrix.

    Raises
    ------
    FormatError
        A file is missing, there are several matrices, or the sizes do not fit each other.
    """

    def __init__(self, path: Path, matrix: str | None = None) -> None:
        refuse_choice(path, matrix, "a Matrix Market matrix")
        self.path = path
        self._files = _find_files(path)
        self._header = read_header(self._files.matrix)
        self._cells = read_barcodes(self._files.barcodes)
        features = read_features(self._files.features)
        self._cells_are_lines, self._orientation_note = self._orientation(features.height)
        self._genes = choose_genes(features, self._files.features)
        self._n_features = features.height

    @staticmethod
    def detects(path: Path) -> bool:
        """Return whether this is a Matrix Market file, a folder with one, or the start of such names."""
        if path.is_file():
            return is_matrix_market(path)
        return any(True for _ in _matrix_files(path))

    def schema(self) -> SourceSchema:
        """Return shape and number type; cells are rows."""
        note = self._orientation_note
        return SourceSchema(
            path=self.path,
            format="mtx",
            n_rows=self._cells.height,
            n_genes=self._genes.var.height,
            layout="csr",
            dtype=str(self._header.dtype),
            notes=(*((note,) if note else ()), *self._genes.notes, *self._obs_and_note[1]),
            is_splittable=False,
        )

    def obs(self) -> pl.DataFrame:
        """Return the barcodes, with `guide_id`, `num_guides` and `guide_umis` where calls lie beside."""
        return self._obs_and_note[0]

    def var(self) -> pl.DataFrame:
        """Return the genes; antibodies and guides are left out."""
        return self._genes.var

    @cached_property
    def _obs_and_note(self) -> tuple[pl.DataFrame, tuple[str, ...]]:
        folder = self._files.matrix.parent
        prefixes = name_prefixes(self._files.prefix) if self._files.prefix else ("",)
        calls = find_guide_calls(folder, prefixes) or find_guide_calls(folder.parent, prefixes)
        return cells_with_guides(self._cells, calls, self._genes.n_guides)

    def batches(
        self, rows: int | None = None, start: int = 0, stop: int | None = None
    ) -> Iterator[ProfileBatch]:
        """Yield cells start..stop as CSR matrices: int32 or float32 as declared, ones of a pattern."""
        pointers, columns, values = self._row_ordered
        shape = (self._cells.height, self._n_features)
        matrix = CompressedRows(pointers, columns, values, shape, str(self._files.matrix))
        for batch in matrix.batches(rows, start, stop):
            yield batch if self._genes.columns is None else batch[:, self._genes.columns]

    @cached_property
    def _row_ordered(self) -> RowOrdered:
        header = self._header
        cells: npt.NDArray[np.int32] = scratch_array((header.n_entries,), np.int32)
        features: npt.NDArray[np.int32] = scratch_array((header.n_entries,), np.int32)
        values = scratch_array((header.n_entries,), header.dtype)
        low = 0
        for entries in read_entries(self._files.matrix, header):
            part = slice(low, low + len(entries.lines))
            first, second = entries.lines, entries.columns
            cells[part], features[part] = (first, second) if self._cells_are_lines else (second, first)
            values[part] = entries.values
            low = part.stop
        return entries_to_row_order(cells, features, values, self._cells.height, entries_per_batch())

    def _orientation(self, n_features: int) -> tuple[bool, str | None]:
        """Return whether cells are the lines of the matrix, told from the sizes of the tables."""
        shape = self._header.n_lines, self._header.n_columns
        n_cells = self._cells.height
        if shape == (n_features, n_cells):
            is_square = n_features == n_cells
            note = f"the matrix is square ({n_cells:,} x {n_cells:,}): genes are its lines, as 10x writes it"
            return False, note if is_square else None
        if shape == (n_cells, n_features):
            return True, "the matrix has cells as lines"
        raise FormatError(
            f"{self._files.matrix}: is {shape[0]:,} x {shape[1]:,}, but {self._files.features.name} names "
            f"{n_features:,} features and {self._files.barcodes.name} {n_cells:,} barcodes. Take a line of "
            "column names out of the tables if there is one, or bring the tables of this matrix."
        )


def _matrix_files(path: Path) -> Iterator[Path]:
    """Yield the Matrix Market files of a folder, or those whose names begin as `path` says."""
    folder, prefix = (path, "") if path.is_dir() else (path.parent, path.name)
    if folder.is_dir():
        for file in sorted(folder.iterdir()):
            if (
                file.name.startswith(prefix)
                and file.name.lower().endswith(_MATRIX_ENDINGS)
                and file.is_file()
            ):
                yield file


def _find_files(path: Path) -> _Files:
    found = [path] if path.is_file() else list(_matrix_files(path))
    unpacked = {file.name for file in found}
    # A matrix that lies there packed and unpacked is one matrix.
    found = [
        file for file in found if file.name.removesuffix(".gz") == file.name or file.stem not in unpacked
    ]
    if len(found) != 1:
        names = ", ".join(file.name for file in found[:5])
        raise FormatError(
            f"{path}: holds {len(found)} matrices ({names}{', ...' if len(found) > 5 else ''}). Name one "
            ".mtx file, or several as sources of their own."
        )
    return _siblings(found[0])


def _siblings(matrix: Path) -> _Files:
    stem = matrix.name.removesuffix(".gz").removesuffix(".mtx")
    starts = _starts(stem)
    features = _first_file(matrix.parent, starts, _FEATURE_NAMES)
    barcodes = _first_file(matrix.parent, starts, ("barcodes",))
    for what, file in (("features.tsv or genes.tsv", features), ("barcodes.tsv", barcodes)):
        if file is None:
            raise FormatError(
                f"{matrix}: has no {starts[0]}{what} (or packed: .gz) beside it. Bring the tables of "
                "features and barcodes that belong to the matrix into its folder."
            )
    assert features is not None and barcodes is not None
    return _Files(matrix, features, barcodes, starts[0])


def _starts(stem: str) -> tuple[str, ...]:
    """Return what the names of the tables may begin with: GSM1_ for GSM1_matrix; a_, a., a- or "" for a."""
    if stem.endswith("matrix"):
        return (stem.removesuffix("matrix"),)
    return (f"{stem}_", f"{stem}.", f"{stem}-", "")


def _first_file(folder: Path, starts: tuple[str, ...], names: tuple[str, ...]) -> Path | None:
    places = (folder / f"{start}{name}{end}" for start in starts for name in names for end in _ENDINGS)
    return next((place for place in places if place.is_file()), None)
