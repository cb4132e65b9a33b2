"""AnnData files in HDF5 (.h5ad), of every age."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

from pertcast_data.readers.anndata.source import AnnDataSource
from pertcast_data.readers.hdf5 import holds, open_hdf5


class H5adSource(AnnDataSource):
    """Profiles of one matrix of an .h5ad file.

    Parameters
    ----------
    path
        The file.
    matrix
        None or "X", "raw" (with its own genes), or "layers/NAME".

    Raises
    ------
    FormatError
        The file cannot be opened, has no such matrix, or the matrix, obs and var do not fit each other.
    """

    format_name: ClassVar[str] = "h5ad"

    @staticmethod
    def detects(path: Path) -> bool:
        """Return whether the file is HDF5 with obs and var."""
        return holds(path, "obs", "var")

    def _opened(self) -> AbstractContextManager[Any]:
        return open_hdf5(self.path)
