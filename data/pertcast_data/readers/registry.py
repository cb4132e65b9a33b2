"""Which reader reads which file: an immutable registry, asked by content.

A file that no reader knows is refused by name, with what it seems to be and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pertcast_data.errors import FormatError
from pertcast_data.readers.gct import GctSource
from pertcast_data.readers.gctx import GctxSource
from pertcast_data.readers.h5ad import H5adSource
from pertcast_data.readers.hdf5 import has_hdf5_signature, open_hdf5
from pertcast_data.readers.source import ProfileSource

READERS: Final[Mapping[str, type[ProfileSource]]] = MappingProxyType(
    {"h5ad": H5adSource, "gctx": GctxSource, "gct": GctSource}
)
"""Format name -> reader."""

_FOREIGN_MAGIC: Final = (
    (b"\x1f\x8b", "a gzip archive", "Unpack it first: gunzip -k FILE."),
    (b"PK\x03\x04", "a zip archive", "Unpack it first."),
    (b"BZh", "a bzip2 archive", "Unpack it first."),
    (b"\xfd7zXZ", "an xz archive", "Unpack it first."),
    (b"PAR1", "a Parquet table", "A table belongs into --obs-table; profiles come as h5ad, gctx or gct."),
)


def open_source(path: Path | str, matrix: str | None = None) -> ProfileSource:
    """Open a file of profiles, whatever its name says it is.

    Parameters
    ----------
    path
        An h5ad, gctx or gct file.
    matrix
        Which matrix of a file that holds several: "X", "raw" or "layers/NAME" of AnnData; None: the main one.

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
    if not path.exists():
        raise FormatError(f"{path}: no such file. Check the path.")
    if path.is_dir():
        raise FormatError(f"{path}: is a folder; profiles come as h5ad, gctx or gct files. Name the files.")
    for reader in READERS.values():
        if reader.detects(path):
            return reader(path, matrix)
    raise FormatError(f"{path}: {_diagnosis(path)}")


def _diagnosis(path: Path) -> str:
    if has_hdf5_signature(path):
        with open_hdf5(path) as file:
            found = ", ".join(sorted(file)) or "nothing"
        return (
            f"is HDF5, but neither h5ad (X, obs, var) nor gctx (0/DATA/0/matrix): it holds {found}. "
            "Convert it to h5ad."
        )
    with path.open("rb") as file:
        start = file.read(16)
    if not start:
        return "is empty. Copy or download it again."
    for magic, name, remedy in _FOREIGN_MAGIC:
        if start.startswith(magic):
            return f"is {name}. {remedy}"
    return (
        f"is of no known format (it starts with {start!r}); known: {', '.join(READERS)}. "
        "Convert it, or copy it again if it should be one of these."
    )
