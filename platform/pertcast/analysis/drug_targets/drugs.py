"""Drug profiles, and in which cell line each is compared with the genes of a library.

A drug is compared in every line that it shares with the library; a drug without such a line by the mean
over its own lines, with the mean over the library's lines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError

from pertcast.analysis.drug_targets.library import FEWEST_FOR_A_MEAN


@dataclass(frozen=True)
class DrugProfiles:
    """One profile a drug and cell line: the mean response over its doses and times.

    Attributes
    ----------
    table
        N rows: drug (its name), cell_iname, n_conditions; every pair once.
    profiles
        (N, G) float32 responses, finite.
    source
        Name for people.
    """

    table: pl.DataFrame
    profiles: NDArray[np.float32]
    source: str = "drugs"

    def __post_init__(self) -> None:
        if self.table.height != len(self.profiles) or not self.table.height:
            raise SchemaError(
                f"{self.source} has {self.table.height} drugs x cell lines and {len(self.profiles)} profiles."
            )
        if not np.isfinite(self.profiles).all():
            row = int(np.flatnonzero(~np.isfinite(self.profiles).all(axis=1))[0])
            name, line = self.table["drug"][row], self.table["cell_iname"][row]
            raise SchemaError(
                f"{self.source}: the profile of {name} in {line} holds NaN or infinite values. Leave it out."
            )

    def centred(self) -> NDArray[np.float32]:
        """Return (N, G) profiles minus the mean over the drugs of their line; few drugs stay as they are."""
        found = self.profiles.astype(np.float32, copy=True)
        lines = self.table["cell_iname"].to_numpy()
        for line in np.unique(lines):
            rows = np.flatnonzero(lines == line)
            if len(rows) >= FEWEST_FOR_A_MEAN:
                found[rows] -= found[rows].mean(axis=0, dtype=np.float64).astype(np.float32)
        return found


@dataclass(frozen=True)
class Stratum:
    """Queries that are compared with the same profiles of the library.

    Attributes
    ----------
    cell_iname
        The shared line; None for the consensus over lines.
    queries
        Where its queries stand among all.
    """

    cell_iname: str | None
    queries: slice


@dataclass(frozen=True)
class QueryPlan:
    """Which drug is compared where.

    Attributes
    ----------
    table
        Q rows: drug, cell_iname (null: consensus), n_conditions.
    weights
        (Q, N) float32: a query is this weighted sum of drug profiles (one line's, or their mean).
    strata
        The parts of the queries, one a shared line, then the consensus.
    """

    table: pl.DataFrame
    weights: NDArray[np.float32]
    strata: tuple[Stratum, ...]

    def stratum_of_query(self) -> NDArray[np.int64]:
        """Return (Q,) the number of each query's stratum."""
        sizes = [each.queries.stop - each.queries.start for each in self.strata]
        return np.repeat(np.arange(len(sizes)), sizes)


def plan_queries(drugs: DrugProfiles, lines: tuple[str, ...], consensus: bool = False) -> QueryPlan:
    """Decide where every drug is compared.

    Parameters
    ----------
    drugs
        The drugs' profiles.
    lines
        Cell lines of the library.
    consensus
        Compare every drug by the mean over lines, shared or not.
    """
    table = drugs.table.with_row_index("profile")
    shared = set() if consensus else set(lines) & set(table["cell_iname"])
    matched = table.filter(pl.col("cell_iname").is_in(list(shared)))
    alone = table.join(matched.select("drug").unique(), on="drug", how="anti")
    tables, picks, strata, start = [], [], [], 0
    parts = [(line, matched.filter(pl.col("cell_iname") == line)) for line in sorted(shared)]
    for line, part in [*parts, (None, alone)]:
        grouped = part.group_by("drug").agg("profile", pl.col("n_conditions").sum()).sort("drug")
        if not grouped.height:
            continue
        name = pl.lit(line, dtype=pl.String).alias("cell_iname")
        tables.append(grouped.select("drug", name, "n_conditions"))
        picks += grouped["profile"].to_list()
        strata.append(Stratum(line, slice(start, start + grouped.height)))
        start += grouped.height
    weights = np.zeros((start, drugs.table.height), dtype=np.float32)
    for query, members in enumerate(picks):
        weights[query, members] = 1.0 / len(members)
    return QueryPlan(pl.concat(tables), weights, tuple(strata))
