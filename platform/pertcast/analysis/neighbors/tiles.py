"""Unit profiles of one stratum in tiles of equal size, and their products.

Every tile is filled up with zeros to one shape, so that a cosine has the same bits wherever its two
profiles lie, whichever of them comes first and however many are held in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError
from pertcast_data.reading import ProfileReader

TILE_MULTIPLE: Final = 64
"""Tiles hold a multiple of so many profiles: all their cosines then come from the same inner loop."""

_LENGTH_ROWS: Final = 64


@dataclass(frozen=True, slots=True)
class Tiles:
    """The profiles of one stratum, read a tile at a time.

    Attributes
    ----------
    rows
        (n,) int64, rows of the profiles in the screen, rising.
    perturbation
        (n,) integers; equal ones are the same perturbation.
    read
        Returns profiles by row.
    size
        Profiles a tile; the last tile is filled up with zeros.
    """

    rows: NDArray[np.int64]
    perturbation: NDArray[np.int64]
    read: ProfileReader
    size: int

    @property
    def count(self) -> int:
        """Number of tiles."""
        return -(-len(self.rows) // self.size)

    def rows_of(self, tile: int) -> NDArray[np.int64]:
        """Return the rows of a tile in the screen."""
        return self.rows[tile * self.size : (tile + 1) * self.size]

    def unit(self, tile: int) -> torch.Tensor:
        """Read a tile, as profiles of length 1: (size, G) float32."""
        rows = self.rows_of(tile)
        return unit_tile(self.read(rows), rows, self.size)

    def similarity(
        self, first: int, one: torch.Tensor, second: int, other: torch.Tensor
    ) -> NDArray[np.float32]:
        """Return the cosines of two tiles (size, size); 0 between profiles of the same perturbation."""
        cosine: NDArray[np.float32] = torch.mm(one, other.T).numpy()
        mine, theirs = self._perturbations(first), self._perturbations(second)
        if len(np.intersect1d(mine, theirs)):
            same = mine[:, None] == theirs[None, :]
            np.copyto(cosine[: len(mine), : len(theirs)], np.float32(0), where=same)
        return cosine

    def _perturbations(self, tile: int) -> NDArray[np.int64]:
        return self.perturbation[tile * self.size : (tile + 1) * self.size]


def tile_size(block_rows: int, n_rows: int) -> int:
    """Return the profiles a tile: `block_rows`, fewer for a small stratum, a multiple of 64."""
    return -(-min(block_rows, n_rows) // TILE_MULTIPLE) * TILE_MULTIPLE


def unit_tile(profiles: NDArray[np.floating], rows: NDArray[np.int64], size: int) -> torch.Tensor:
    """Scale profiles to length 1 and fill up with zeros; a profile of zeros stays one.

    Parameters
    ----------
    profiles
        (M, G) of any floating type.
    rows
        (M,) int64, their rows in the screen, named in errors.
    size
        Profiles of the result.

    Returns
    -------
    Tensor
        (size, G) float32.

    Raises
    ------
    SchemaError
        A profile holds a value that is not finite.
    """
    unit = np.zeros((size, profiles.shape[1]), np.float32)
    for start in range(0, len(profiles), _LENGTH_ROWS):
        part = profiles[start : start + _LENGTH_ROWS].astype(np.float32, copy=False)
        # Squares are summed in double precision, a few rows at a time: the copy stays small.
        length = np.sqrt(np.square(part, dtype=np.float64).sum(axis=1)).astype(np.float32)
        if not np.isfinite(length).all():
            row = rows[start + int(np.flatnonzero(~np.isfinite(length))[0])]
            raise SchemaError(
                f"Profile {row} of the screen holds values that are not finite, so it has no neighbours. "
                "Run the screen again; if it happens again, train the model again."
            )
        length[length == 0] = 1
        np.divide(part, length[:, None], out=unit[start : start + len(part)])
    return torch.from_numpy(unit)
