"""The table of a screen's conditions, read a block or a column at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from numpy.typing import NDArray


@dataclass(frozen=True)
class SigInfo:
    """The table of a screen's conditions, read a block or a column at a time.

    Attributes
    ----------
    path
        sig_info.parquet.
    n_rows
        Profiles.
    """

    path: Path
    n_rows: int

    @classmethod
    def open(cls, path: Path) -> SigInfo:
        """Open the table of a screen."""
        return cls(path, pq.read_metadata(path).num_rows)

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[tuple[int, pl.DataFrame]]:
        """Yield the first row of each block and the block, in order."""
        start = 0
        with pq.ParquetFile(self.path) as file:
            for group in range(file.num_row_groups):
                block = pl.DataFrame(pl.from_arrow(file.read_row_group(group, columns=columns)))
                yield start, block
                start += block.height

    def column(self, name: str) -> Iterator[pl.Series]:
        """Yield a column in blocks."""
        for _, block in self.blocks([name]):
            yield block[name]

    def values(self, name: str) -> NDArray[np.float64]:
        """Return a column of numbers, (N,) float64; null is NaN."""
        found = np.empty(self.n_rows)
        for start, block in self.blocks([name]):
            numbers = block[name].cast(pl.Float64).fill_null(float("nan"))
            found[start : start + block.height] = numbers.to_numpy()
        return found

    def codes(self, columns: Sequence[str]) -> NDArray[np.int64]:
        """Return (N,) a number for each distinct combination of columns, from 0 in order of appearance.

        Values are held once a column, never once a combination: those may be as many as profiles.
        """
        found = np.zeros(self.n_rows, dtype=np.int64)
        for name in columns:
            values, code = self.categories(name)
            found = _renumbered(found * len(values) + code)
        return found

    def categories(self, name: str) -> tuple[tuple[Any, ...], NDArray[np.int64]]:
        """Return the distinct values of a column, in order of appearance, and (N,) which one a row has."""
        known: dict[Any, int] = {}
        found = np.empty(self.n_rows, dtype=np.int64)
        for start, block in self.blocks([name]):
            distinct = block.unique(maintain_order=True)
            numbers = [known.setdefault(value, len(known)) for value in distinct[name]]
            coded = distinct.with_columns(code=pl.Series(numbers, dtype=pl.Int64))
            joined = block.join(coded, on=name, how="left", nulls_equal=True, maintain_order="left")
            found[start : start + block.height] = joined["code"].to_numpy()
        return tuple(known), found

    def rows(self, wanted: NDArray[np.int64], columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Return some rows, in the order asked for; only the row groups that hold them are read."""
        order = np.argsort(wanted, kind="stable")
        rising = wanted[order]
        parts = []
        with pq.ParquetFile(self.path) as file:
            start = 0
            for group in range(file.num_row_groups):
                end = start + file.metadata.row_group(group).num_rows
                first, last = np.searchsorted(rising, (start, end))
                if first < last:
                    block = pl.DataFrame(pl.from_arrow(file.read_row_group(group, columns=columns)))
                    parts.append(block[rising[first:last] - start])
                start = end
        place = np.empty(len(wanted), dtype=np.int64)
        place[order] = np.arange(len(wanted))
        return pl.concat(parts)[place]


def _renumbered(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return codes numbered from 0 in order of appearance."""
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    number = np.empty(len(first), dtype=np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    return number[inverse]
