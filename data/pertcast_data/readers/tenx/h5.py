"""CellRanger's HDF5 matrices, of versions 2 (a group for each genome) and 3 (`matrix`).

Features x cells in columns are cells x features in rows, so that any range of cells is read directly.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import polars as pl

from pertcast_data.errors import FormatError, nearest_known
from pertcast_data.readers.anndata.tables import is_array
from pertcast_data.readers.compressed_rows import CompressedRows
from pertcast_data.readers.hdf5 import has_hdf5_signature, holds, open_hdf5, read_ids, require_numbers
from pertcast_data.readers.source import ProfileBatch, SourceSchema, id_frame, refuse_choice
from pertcast_data.readers.tenx.guide_calls import cells_with_guides, find_guide_calls, name_prefixes
from pertcast_data.readers.tenx.tables import choose_genes

_PARTS: Final = ("data", "indices", "indptr", "shape", "barcodes")
_MATRIX: Final = "matrix"
_MOLECULES: Final = ("barcodes", "barcode_idx", "feature_idx"), ("barcode", "gene", "umi")
_COLUMNS: Final = {"name": "gene_symbol", "feature_type": "feature_type", "genome": "genome"}


class TenXH5Source:
    """Profiles of one CellRanger .h5 matrix.

    Parameters
    ----------
    path
        The file.
    matrix
        Name of the genome, where a file of version 2 holds several; None else.

    Raises
    ------
    FormatError
        The file cannot be opened, is no matrix, or its parts do not fit each other.
    """

    def __init__(self, path: Path, matrix: str | None = None) -> None:
        self.path = path
        self._genome_notes: tuple[str, ...] = ()
        if _is_molecule_info(path):
            raise FormatError(
                f"{path}: holds the molecules of a run and no matrix. Bring filtered_feature_bc_matrix.h5 of "
                "the same run."
            )
        with open_hdf5(path) as file:
            self._group = self._choose(file, matrix)
            group = file[self._group]
            missing = [name for name in _PARTS if name not in group]
            if missing:
                raise FormatError(f"{path}: {self._group} lacks {', '.join(missing)}. Copy the file again.")
            n_features, n_cells = (int(size) for size in group["shape"][...])
            self._shape = (n_cells, n_features)
            require_numbers(group["data"], f"{self._group}/data", path)
            self._dtype = str(group["data"].dtype)
            features = _read_features(group)
            self._cells = id_frame(read_ids(group["barcodes"]), {})
        if (self._cells.height, features.height) != self._shape:
            raise FormatError(
                f"{path}: the matrix is {n_features:,} features x {n_cells:,} cells, but the file names "
                f"{features.height:,} and {self._cells.height:,}. Copy the file again."
            )
        self._genes = choose_genes(features, path)

    @staticmethod
    def detects(path: Path) -> bool:
        """Return whether the file is HDF5 with a matrix of CellRanger, or with its molecules (refused)."""
        if not has_hdf5_signature(path):
            return False
        return bool(_genomes_of(path)) or holds(path, f"{_MATRIX}/barcodes") or _is_molecule_info(path)

    def schema(self) -> SourceSchema:
        """Return shape and number type; cells are rows."""
        return SourceSchema(
            path=self.path,
            format="10x_h5",
            n_rows=self._shape[0],
            n_genes=self._genes.var.height,
            layout="csr",
            dtype=self._dtype,
            notes=(*self._genome_notes, *self._genes.notes, *self._obs_and_note[1]),
        )

    def obs(self) -> pl.DataFrame:
        """Return the barcodes, with `guide_id`, `num_guides` and `guide_umis` where calls lie beside."""
        return self._obs_and_note[0]

    def var(self) -> pl.DataFrame:
        """Return the genes; antibodies and guides are left out."""
        return self._genes.var

    @cached_property
    def _obs_and_note(self) -> tuple[pl.DataFrame, tuple[str, ...]]:
        calls = find_guide_calls(self.path.parent, name_prefixes(self.path.name))
        return cells_with_guides(self._cells, calls, self._genes.n_guides)

    def batches(
        self, rows: int | None = None, start: int = 0, stop: int | None = None
    ) -> Iterator[ProfileBatch]:
        """Yield cells start..stop as CSR matrices of the file's number type."""
        with open_hdf5(self.path) as file:
            group = file[self._group]
            where = f"{self.path}: {self._group}"
            matrix = CompressedRows(group["indptr"], group["indices"], group["data"], self._shape, where)
            for batch in matrix.batches(rows, start, stop):
                yield batch if self._genes.columns is None else batch[:, self._genes.columns]

    def _choose(self, file: Any, matrix: str | None) -> str:
        """Return the group to read: `matrix` of version 3, or a genome of version 2."""
        if _MATRIX in file:
            refuse_choice(self.path, matrix, "a CellRanger matrix")
            return _MATRIX
        genomes = _genomes(file)
        if matrix is not None:
            if matrix in genomes:
                return matrix
            near = nearest_known(matrix, genomes)
            raise FormatError(
                f"{self.path}: has no genome {matrix!r} (`matrix:` in the mapping file); it holds "
                f"{', '.join(genomes)}.{f' Nearest: {near[0]}.' if near else ''}"
            )
        filled = [name for name in genomes if file[name]["data"].shape[0]] or genomes[:1]
        if len(filled) > 1:
            raise FormatError(
                f"{self.path}: holds the genomes {', '.join(filled)}. Name one in the mapping file: "
                f"`matrix: {filled[0]}`."
            )
        if len(genomes) > 1:
            left_out = ", ".join(name for name in genomes if name != filled[0])
            self._genome_notes = (f"read from {filled[0]}; {left_out} hold no entry",)
        return filled[0]


def _genomes(file: Any) -> list[str]:
    """Return the groups of a file of version 2 that are matrices."""
    return [
        name
        for name in sorted(file)
        if not is_array(file[name]) and all(part in file[name] for part in (*_PARTS, "genes"))
    ]


def _genomes_of(path: Path) -> list[str]:
    try:
        with open_hdf5(path) as file:
            return _genomes(file)
    except FormatError:
        return []


def _is_molecule_info(path: Path) -> bool:
    return any(holds(path, *names) for names in _MOLECULES)


def _read_features(group: Any) -> pl.DataFrame:
    if "features" not in group:
        columns = {"gene_symbol": pl.Series(read_ids(group["gene_names"]))} if "gene_names" in group else {}
        return id_frame(read_ids(group["genes"]), columns)
    features = group["features"]
    ids = read_ids(features["id"])
    columns = {
        _COLUMNS.get(key, key): pl.Series(read_ids(features[key]), dtype=pl.String)
        for key in sorted(features, key=_rank)
        if key != "id" and is_array(features[key]) and features[key].shape == (len(ids),)
    }
    return id_frame(ids, columns)


def _rank(key: str) -> tuple[int, str]:
    order = list(_COLUMNS)
    return (order.index(key) if key in order else len(order)), key
