"""A matrix that comes gene by gene and is wanted profile by profile: turned through a temporary file.

Blocks of genes are written profile-major one after the other, so a run of profiles is one read a block.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pertcast_data.errors import StorageError


class TurnedMatrix:
    """Genes go in block by block, profiles come out in any range; the file has no name and leaves nothing.

    Parameters
    ----------
    path
        The file that is read, for messages.
    n_profiles
        Number of profiles.
    """

    def __init__(self, path: Path, n_profiles: int) -> None:
        self._path = path
        self._n_profiles = n_profiles
        self._widths: list[int] = []
        self._file = tempfile.TemporaryFile(prefix="pertcast-")  # noqa: SIM115 - lives as long as the matrix

    @property
    def n_genes(self) -> int:
        """Genes that have been put in."""
        return sum(self._widths)

    def add(self, genes: npt.NDArray[np.float32]) -> None:
        """Put in genes, (n, n_profiles); raises StorageError where the disk is full."""
        try:
            self._file.write(np.ascontiguousarray(genes.T).data)
        except OSError as error:
            raise StorageError(
                f"{self._path}: cannot be turned into profiles: no room for a temporary file in "
                f"{tempfile.gettempdir()} ({error}). Free some, or name another folder by TMPDIR."
            ) from error
        self._widths.append(len(genes))

    def profiles(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Return the profiles `start` to `stop`, (stop - start, n_genes)."""
        self._file.flush()
        out = np.empty((stop - start, self.n_genes), np.float32)
        first_gene = 0
        for width in self._widths:
            offset = 4 * (self._n_profiles * first_gene + start * width)
            out[:, first_gene : first_gene + width] = self._read(offset, (stop - start, width))
            first_gene += width
        return out

    def _read(self, offset: int, shape: tuple[int, int]) -> npt.NDArray[Any]:
        self._file.seek(offset)
        return np.frombuffer(self._file.read(4 * shape[0] * shape[1]), np.float32).reshape(shape)
