"""Numbers for the names of genes: each distinct name once, in the order of its first appearance.

A network of millions of rows names some twenty thousand genes; only these are looked at one by one.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray


class NameNumbers:
    """Distinct names, numbered as they come; grows block by block.

    Attributes
    ----------
    names
        The names without blanks and quotes around them, as R writes them also between tabs.
    """

    def __init__(self) -> None:
        self._number: dict[str, int] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Every name, its place being its number."""
        return tuple(self._number)

    def of(self, columns: list[pl.Series]) -> NDArray[np.int32]:
        """Return (R, C) int32 numbers of the names in C columns of R texts; -1 where a name is missing.

        New names are numbered row by row, and within a row column by column.
        """
        height, n_columns = len(columns[0]), len(columns)
        listed = pl.concat([column.cast(pl.String).rename("name") for column in columns])
        codes = _codes(listed)
        missing = int(codes.max(initial=-1)) + 1
        codes = np.where(codes < 0, missing, codes).reshape(n_columns, height).T
        appearances = _first_appearances(codes.ravel(), missing)
        spelled = listed.gather(appearances % n_columns * height + appearances // n_columns)
        number_of = np.full(missing + 1, -1, dtype=np.int32)
        for code, text in zip(codes.ravel()[appearances].tolist(), spelled.to_list(), strict=True):
            name = text.strip().strip('"').strip()
            if name:
                number_of[code] = self._number.setdefault(name, len(self._number))
        return number_of[codes]


def _codes(names: pl.Series) -> NDArray[np.int64]:
    """Return a number for each distinct text, in no order; -1 where there is none."""
    codes: NDArray[np.int64] = (
        names.cast(pl.Categorical).to_physical().cast(pl.Int64).fill_null(-1).to_numpy()
    )
    return codes


def _first_appearances(codes: NDArray[np.int64], missing: int) -> NDArray[np.int64]:
    """Return the first place of each code but `missing`, in order."""
    first = np.full(missing + 1, -1, dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)  # of places written twice the last one stays
    first[missing] = -1
    return np.sort(first[first >= 0])
