"""Opening HDF5 files so that whatever is wrong with them becomes a FormatError that names the file.

Also text: fixed and variable strings, UTF-8 or (old Windows exports) Latin-1.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import polars as pl

from pertcast_data.errors import FormatError
from pertcast_data.text import decode

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SIGNATURE_OFFSETS = (0, 512, 1024, 2048)
# What the libraries raise when they meet damaged bytes, found by damaging files at random.
_BROKEN = (
    *(OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, OverflowError, MemoryError),
    pl.exceptions.PolarsError,
)


def has_hdf5_signature(path: Path) -> bool:
    """Return whether the file starts as HDF5 files do; true for truncated ones too."""
    with path.open("rb") as file:
        for offset in _SIGNATURE_OFFSETS:
            file.seek(offset)
            if file.read(len(_SIGNATURE)) == _SIGNATURE:
                return True
    return False


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Open an HDF5 file for reading; OS and library errors inside the block become FormatError."""
    if not path.is_file():
        raise FormatError(f"{path}: there is no such file. Check the path.")
    remedy = "The file is truncated or damaged: copy or download it again and compare sizes."
    try:
        file = h5py.File(path, "r")
    except _BROKEN as error:
        raise FormatError(f"{path}: cannot be opened as HDF5 ({error}). {remedy}") from error
    with file:
        try:
            yield file
        except _BROKEN as error:
            raise FormatError(f"{path}: cannot be read ({error}). {remedy}") from error


def holds(path: Path, *names: str) -> bool:
    """Return whether a file is HDF5 that opens and holds every one of `names`."""
    if not has_hdf5_signature(path):
        return False
    try:
        with h5py.File(path, "r") as file:
            return all(name in file for name in names)
    except _BROKEN:
        return False


def is_text(dataset: Any) -> bool:
    """Return whether a dataset holds strings of any kind."""
    return dataset.dtype.kind in "SUT" or h5py.check_string_dtype(dataset.dtype) is not None


def require_numbers(dataset: Any, name: str, path: Path) -> None:
    """Raise FormatError where a matrix holds anything but real numbers: complex ones would lose a part."""
    if dataset.dtype.kind not in "biuf":
        raise FormatError(f"{path}: {name} holds {dataset.dtype} and no real numbers. Write it as float32.")


def decode_array(values: npt.NDArray[Any]) -> list[str]:
    """Decode an array of strings: all at once where they are UTF-8, else one by one."""
    raw = values.tolist()
    try:
        return [item if isinstance(item, str) else item.decode("utf-8") for item in raw]
    except UnicodeDecodeError:
        return [decode(item) for item in raw]


def read_ids(dataset: Any) -> list[str]:
    """Return a one-dimensional dataset as names; whole floats lose their ".0" (5720.0 -> "5720")."""
    values = dataset[()]
    if is_text(dataset) or values.dtype.kind == "O":
        return decode_array(values)
    if values.dtype.kind == "f" and np.all(np.isfinite(values)) and np.all(values == np.floor(values)):
        values = values.astype(np.int64)
    return [str(item) for item in values.tolist()]
