"""Which reader reads which file: an immutable registry, asked by content.

A file that no reader knows is refused by name, with what it seems to be and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pertcast_data.errors import FormatError
from pertcast_data.readers.anndata.h5ad import H5adSource
from pertcast_data.readers.anndata.zarr import ZarrAnnDataSource
from pertcast_data.readers.anndata.zarr_files import zarr_names
from pertcast_data.readers.arrow.table import ArrowTableSource
from pertcast_data.readers.cmap.gct import GctSource
from pertcast_data.readers.cmap.gctx import GctxSource
from pertcast_data.readers.column_roles import Orientation
from pertcast_data.readers.hdf5 import has_hdf5_signature, open_hdf5
from pertcast_data.readers.other_files import misread_kind, other_kind
from pertcast_data.readers.source import ProfileSource
from pertcast_data.readers.tenx.h5 import TenXH5Source
from pertcast_data.readers.tenx.matrix_market import MatrixMarketSource
from pertcast_data.readers.text.delimited import DelimitedSource
from pertcast_data.readers.text.delimited_columns import AnnotationTableError

READERS: Final[Mapping[str, type[ProfileSource]]] = MappingProxyType(
    {
        "h5ad": H5adSource,
        "zarr": ZarrAnnDataSource,
        "10x_h5": TenXH5Source,
        "mtx": MatrixMarketSource,
        "gctx": GctxSource,
        "gct": GctSource,
        "parquet": ArrowTableSource,
        "delimited": DelimitedSource,
    }
)
"""Format name -> reader; text of any columns comes last, as nothing else marks it."""

_TABLES: Final = (DelimitedSource, ArrowTableSource)
_FOLDER_FORMATS: Final = ("zarr", "mtx")
_MOST_NAMES: Final = 8

_FOREIGN_MAGIC: Final = (
    (b"\x1f\x8b", "a gzip archive", "Unpack it first: gunzip -k FILE."),
    (b"PK\x03\x04", "a zip archive", "Unpack it first."),
    (b"BZh", "a bzip2 archive", "Unpack it first."),
    (b"\xfd7zXZ", "an xz archive", "Unpack it first."),
)


def open_source(
    path: Path | str,
    matrix: str | None = None,
    orientation: Orientation | None = None,
    annotation_columns: Sequence[str] | None = None,
) -> ProfileSource:
    """Open a file of profiles, whatever its name says it is.

    Parameters
    ----------
    path
        A file or folder of any format in `READERS`, or what the names of a 10x matrix and its tables begin
        with ("GSE1/GSM123_").
    matrix
        Which matrix of a file that holds several: "X", "raw" or "layers/NAME" of AnnData, a genome
        of CellRanger 2, a column of vectors; None: the main one.
    orientation
        What a line of a text matrix is, "profiles" or "genes", where its names do not tell; files of other
        formats say it themselves.
    annotation_columns
        Columns of numbers of a table (text, Parquet, Arrow) that are no genes, beside those whose names tell
        it; files of other formats say it themselves.

    Returns
    -------
    ProfileSource
        The reader that knows the content.

    Raises
    ------
    FormatError
        The file is absent, empty, truncated, broken or of an unknown format, or holds no such matrix.
    """
    path = Path(path)
    reader = _reader(path)
    if reader is None:
        raise FormatError(f"{path}: {other_kind(path, is_annotations=True) or _diagnosis(path)}")
    columns = None if annotation_columns is None else tuple(annotation_columns)
    return _opened(reader, path, matrix, orientation, columns)


def _reader(path: Path) -> type[ProfileSource] | None:
    """Return the first reader that knows the content; raises FormatError where it cannot be looked at."""
    try:
        if not path.exists():
            if MatrixMarketSource.detects(path):
                return MatrixMarketSource
            raise FormatError(f"{path}: no such file. Check the path.")
        names = _FOLDER_FORMATS if path.is_dir() else (*READERS,)
        return next((READERS[name] for name in names if READERS[name].detects(path)), None)
    except (OSError, ValueError) as error:
        # A name that is too long, a folder or a file that may not be read, a null character.
        said = error.strerror if isinstance(error, OSError) else error
        raise FormatError(f"{path}: cannot be looked at ({said}). Check its name and permissions.") from error


def _opened(
    reader: type[ProfileSource],
    path: Path,
    matrix: str | None,
    orientation: Orientation | None,
    annotation_columns: tuple[str, ...] | None,
) -> ProfileSource:
    misread = misread_kind(path) if reader in _TABLES and orientation is None else None
    if misread is not None:
        raise AnnotationTableError(f"{path}: {misread}")
    try:
        if reader is DelimitedSource:
            return DelimitedSource(
                path, matrix, orientation=orientation, annotation_columns=annotation_columns
            )
        if reader is ArrowTableSource:
            return ArrowTableSource(path, matrix, annotation_columns=annotation_columns)
        return reader(path, matrix)
    except FormatError as error:
        # A table of anything looks like a matrix until its columns are understood.
        is_annotations = isinstance(error, AnnotationTableError)
        kind = other_kind(path, is_annotations=is_annotations) if reader in _TABLES else None
        if kind is None:
            raise
        raise type(error)(f"{path}: {kind}") from error


def _diagnosis(path: Path) -> str:
    if path.is_dir():
        return _diagnosis_of_folder(path)
    if has_hdf5_signature(path):
        with open_hdf5(path) as file:
            found = ", ".join(sorted(file)) or "nothing"
        return (
            f"is HDF5, but neither h5ad (X, obs, var) nor gctx (0/DATA/0/matrix) nor of CellRanger (matrix): "
            f"it holds {found}. Convert it to h5ad."
        )
    with path.open("rb") as file:
        start = file.read(16)
    if not start:
        return "is empty. Copy or download it again."
    for magic, name, remedy in _FOREIGN_MAGIC:
        if start.startswith(magic):
            return f"is {name}. {remedy}"
    return (
        f"is of no known format (it starts with {_in_words(start)}); known: {', '.join(READERS)}. "
        "Convert it, or copy it again if it should be one of these."
    )


def _in_words(start: bytes) -> str:
    """Return the first bytes of a file: the line that they begin, or the bytes where they are no text."""
    try:
        line = start.decode("ascii").strip().partition("\n")[0].expandtabs(1).strip()
    except UnicodeDecodeError:
        line = ""
    return f'"{line}"' if line.isprintable() and line else f"the bytes {start[:8].hex(' ')}"


def _diagnosis_of_folder(path: Path) -> str:
    names = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
    if zarr_names(path):
        what = f"is a Zarr group, but holds no AnnData (X, obs, var): it holds {', '.join(names)}"
        return f"{what}. Write it with anndata's write_zarr."
    shown = ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
    return (
        f"is a folder, and neither Zarr nor a 10x matrix (matrix.mtx, features.tsv, barcodes.tsv); it holds "
        f"{shown or 'nothing'}. Name the file or the folder of the matrix itself."
    )
