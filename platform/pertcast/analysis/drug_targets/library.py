"""A library of gene perturbation profiles, read a block of genes at a time.

All profiles of a gene (types, cell lines, times) come in one block, so that scores are combined over them
while nothing but the block is held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.reading import ProfileReader

BLOCK_ROWS: Final = 4096
"""Profiles read at once."""
FEWEST_FOR_A_MEAN: Final = 10
"""Fewest profiles whose mean is removed: the mean of fewer holds too much of each of them."""

Mean = NDArray[np.float32]


@dataclass(frozen=True)
class Segment:
    """The profiles of one type and cell line in a block: at most one a gene.

    Attributes
    ----------
    pert_type, cell_iname
        Which.
    gene
        (M,) int64 rising, positions in `GeneLibrary.perturbed`.
    profiles
        (M, G) float32.
    """

    pert_type: str
    cell_iname: str
    gene: NDArray[np.int64]
    profiles: NDArray[np.float32]


@dataclass(frozen=True)
class GeneLibrary:
    """Profiles of perturbed genes.

    Attributes
    ----------
    rows
        One row a profile: row (Int64, for `read`), gene (symbol of the perturbed gene), pert_type,
        cell_iname; none is null.
    genes
        Names of the G genes of a profile.
    read
        Returns (M, G) float32 profiles by row, in the order asked.
    source
        Name for people.
    block_rows
        Profiles read at once.
    """

    rows: pl.DataFrame
    genes: tuple[str, ...]
    read: ProfileReader
    source: str = "library"
    block_rows: int = BLOCK_ROWS

    def __post_init__(self) -> None:
        if not self.rows.height:
            raise SchemaError(f"{self.source} holds no profile of a perturbed gene. Name another library.")

    @cached_property
    def perturbed(self) -> tuple[str, ...]:
        """Names of the perturbed genes, sorted: ties are ranked in this order."""
        return tuple(self.rows["gene"].unique().sort())

    @cached_property
    def types(self) -> tuple[str, ...]:
        """Codes of the types of perturbation, sorted."""
        return tuple(self.rows["pert_type"].unique().sort())

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """Names of the cell lines, sorted."""
        return tuple(self.rows["cell_iname"].unique().sort())

    @cached_property
    def _order(self) -> pl.DataFrame:
        """The rows with number of gene and of block, in the order in which they are read."""
        numbers = pl.DataFrame({"gene": self.perturbed, "number": np.arange(len(self.perturbed))})
        sizes = self.rows.join(numbers, on="gene").group_by("number").len().sort("number")["len"].to_numpy()
        block = np.cumsum(sizes) // self.block_rows
        numbers = numbers.with_columns(block=pl.Series(block))
        joined = self.rows.join(numbers, on="gene", how="left")
        return joined.sort("block", "pert_type", "cell_iname", "number", "row")

    def has(self, pert_type: str, cell_iname: str | None) -> NDArray[np.bool_]:
        """Return (P,) which perturbed genes have a profile of a type in a line (in any line where None)."""
        chosen = pl.col("pert_type") == pert_type
        if cell_iname is not None:
            chosen &= pl.col("cell_iname") == cell_iname
        known = np.zeros(len(self.perturbed), dtype=np.bool_)
        known[self._order.filter(chosen)["number"].to_numpy()] = True
        return known

    def blocks(
        self,
        wanted: NDArray[np.bool_] | None = None,
        progress: ProgressCallback = no_progress,
        note: str = "",
    ) -> Iterator[list[Segment]]:
        """Yield the library, all segments of a block of genes together.

        Parameters
        ----------
        wanted
            (P,) which perturbed genes are asked for; all by default.
        progress, note
            Told of profiles read.

        Raises
        ------
        SchemaError
            A profile holds NaN or infinite values.
        """
        order = self._order
        if wanted is not None:
            order = order.filter(pl.Series(wanted[order["number"].to_numpy()]))
            order = order.with_columns(block=pl.Series(_packed(order, self.block_rows)))
            order = order.sort("block", maintain_order=True)
        done = 0
        for part in order.partition_by("block", maintain_order=True):
            rows = part["row"].to_numpy().astype(np.int64)
            profiles = np.asarray(self.read(rows), dtype=np.float32)
            self._require_finite(profiles, part)
            yield list(_segments(part, profiles))
            done += len(rows)
            progress(done, order.height, note)

    def _require_finite(self, profiles: NDArray[np.float32], part: pl.DataFrame) -> None:
        if np.isfinite(profiles.sum()):
            return
        bad = np.flatnonzero(~np.isfinite(profiles).all(axis=1))
        if len(bad):
            first = part.row(int(bad[0]), named=True)
            raise SchemaError(
                f"{self.source}: the profile of {first['gene']} ({first['pert_type']}, "
                f"{first['cell_iname']}, row {first['row']}) holds NaN or infinite values. "
                "Leave it out, or make the library again."
            )

    def means(self, progress: ProgressCallback = no_progress) -> dict[tuple[str, str], Mean]:
        """Return the mean profile (G,) float32 of every type and cell line, in one pass.

        Zero where there are fewer than `FEWEST_FOR_A_MEAN` genes.
        """
        sums: dict[tuple[str, str], NDArray[np.float64]] = {}
        counts: dict[tuple[str, str], int] = {}
        for segments in self.blocks(progress=progress, note="mean profile"):
            for segment in segments:
                key = (segment.pert_type, segment.cell_iname)
                total = np.ones(len(segment.gene), np.float32) @ segment.profiles
                sums[key] = sums.get(key, np.zeros(len(self.genes))) + total
                counts[key] = counts.get(key, 0) + len(segment.gene)
        return {
            key: (summed / counts[key] * (counts[key] >= FEWEST_FOR_A_MEAN)).astype(np.float32)
            for key, summed in sums.items()
        }


def _packed(order: pl.DataFrame, block_rows: int) -> NDArray[np.int64]:
    """Return the block of each row when only some genes are read: as few blocks as hold them."""
    number = order["number"].to_numpy()
    genes, counts = np.unique(number, return_counts=True)
    block = np.cumsum(counts) // block_rows
    return np.asarray(block[np.searchsorted(genes, number)], dtype=np.int64)


def _segments(part: pl.DataFrame, profiles: NDArray[np.float32]) -> Iterator[Segment]:
    """Cut a block, sorted by type, line and gene, into segments; repeats of a gene are averaged."""
    number = part["number"].to_numpy().astype(np.int64)
    runs = part.select(pl.struct("pert_type", "cell_iname").rle_id()).to_series().to_numpy()
    bounds = [*np.unique(runs, return_index=True)[1].tolist(), len(number)]
    for start, stop in pairwise(bounds):
        genes, first = np.unique(number[start:stop], return_index=True)
        values = profiles[start:stop]
        if len(genes) < len(values):
            counts = np.diff([*first.tolist(), len(values)])
            values = (np.add.reduceat(values, first, axis=0) / counts[:, None]).astype(np.float32)
        yield Segment(part["pert_type"][start], part["cell_iname"][start], genes, values)
