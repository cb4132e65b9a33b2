"""Scores in their context: divided by what the same query scores within one cell line and type (NCS).

NCS: the score divided by the mean of the scores of the same sign, of the same query, over the references
of the same cell line and perturbation type (Subramanian et al., Cell 171, 1437 (2017)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

FEWEST_SCORES: Final = 5
"""Scores of one sign that a mean is taken of; in a smaller stratum there is no normalised score."""


@dataclass(frozen=True)
class Strata:
    """The cell line and perturbation type of each reference.

    Attributes
    ----------
    of_row
        (N,) int64 number of the stratum.
    names
        "cell line, type" of each stratum.
    """

    of_row: NDArray[np.int64]
    names: tuple[str, ...]

    @classmethod
    def of(cls, table: pl.DataFrame) -> Strata:
        """Return the strata of a table with cell_iname and pert_type, in order of their first rows."""
        keys = table.select(
            pl.concat_str(
                pl.col("cell_iname", "pert_type").cast(pl.String).fill_null("unknown"), separator=", "
            ).alias("name")
        )["name"]
        names = keys.unique(maintain_order=True)
        numbers = pl.DataFrame({"name": names, "number": np.arange(len(names))})
        of_row = pl.DataFrame({"name": keys}).join(numbers, on="name", how="left", maintain_order="left")
        return cls(of_row["number"].to_numpy().astype(np.int64), tuple(names))

    def __len__(self) -> int:
        return len(self.names)

    def rows_of(self, stratum: int) -> NDArray[np.int64]:
        """Return the rows of one stratum, rising."""
        return np.flatnonzero(self.of_row == stratum).astype(np.int64)


@dataclass(frozen=True)
class SignedMeans:
    """Mean scores of each query and stratum, by sign; NaN where there are fewer than `FEWEST_SCORES`.

    Attributes
    ----------
    positive, negative
        (D, S) float64, the means of scores above zero, and of the sizes of those below.
    """

    positive: NDArray[np.float64]
    negative: NDArray[np.float64]

    @classmethod
    def of(cls, scores: NDArray[np.floating[Any]], stratum: NDArray[np.int64], n_strata: int) -> SignedMeans:
        """Take the means of scores (D, M) of references in strata (M,)."""
        return cls(_means(scores, stratum, n_strata), _means(-scores, stratum, n_strata))

    def normalise(self, scores: NDArray[np.floating[Any]], stratum: NDArray[np.int64]) -> NDArray[np.float64]:
        """Divide scores (D, M) by the mean of their sign and stratum; 0 stays 0, NaN without a mean."""
        means = np.where(scores > 0, self.positive[:, stratum], self.negative[:, stratum])
        normal: NDArray[np.float64] = np.where(scores == 0, 0.0, scores / means)
        return normal


def _means(
    scores: NDArray[np.floating[Any]], stratum: NDArray[np.int64], n_strata: int
) -> NDArray[np.float64]:
    found = np.full((len(scores), n_strata), np.nan)
    for row, values in enumerate(scores):
        is_counted = values > 0
        here = stratum[is_counted]
        count = np.bincount(here, minlength=n_strata)
        total = np.bincount(here, weights=values[is_counted], minlength=n_strata)
        enough = count >= FEWEST_SCORES
        found[row, enough] = total[enough] / count[enough]
    return found


def draw_stratified(strata: Strata, count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Draw `count` rows without replacement, from each stratum its share; all rows where there are fewer.

    Every stratum gives at least one row while `count` allows; the rows rise.
    """
    n_rows = len(strata.of_row)
    if n_rows <= count:
        return np.arange(n_rows, dtype=np.int64)
    # Rows in the order of their strata, within each at random: evenly spaced places are proportional shares.
    shuffled = random.permutation(n_rows)
    ordered = shuffled[np.argsort(strata.of_row[shuffled], kind="stable")]
    places = (np.arange(count) + 0.5) * n_rows / count
    rows = set(ordered[places.astype(np.int64)].tolist())
    if len(strata) <= count:
        first = ordered[np.unique(strata.of_row[ordered], return_index=True)[1]]
        missing = np.setdiff1d(np.arange(len(strata)), strata.of_row[list(rows)])
        rows.update(first[missing].tolist())
    return np.array(sorted(rows), dtype=np.int64)
