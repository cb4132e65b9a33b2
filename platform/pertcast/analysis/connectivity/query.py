"""One query of a library: every reference scored, ranked and put beside other queries and random ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.text import counted, listed

from pertcast.analysis.connectivity.consensus import MIMICS, REVERSES
from pertcast.analysis.connectivity.index import ConnectivityIndex
from pertcast.analysis.connectivity.mapping import MappingReport
from pertcast.analysis.connectivity.prepared import PreparedQuery
from pertcast.analysis.connectivity.result import QueryResult
from pertcast.analysis.connectivity.significance import (
    N_RANDOM_QUERIES,
    N_REFERENCE_QUERIES,
    NullReader,
    ReferenceQueries,
    q_values,
    random_scores,
)
from pertcast.analysis.connectivity.strata import FEWEST_SCORES, SignedMeans, Strata

_SMALLEST_Q: Final = 1e-300


@dataclass(frozen=True, slots=True)
class QueryOptions:
    """How a library is asked.

    Attributes
    ----------
    per_tail
        References of each tail that are reported, with tau.
    n_references
        Reference queries that tau is taken of.
    n_random
        Random queries that q-values are taken of.
    seed
        Of both.
    """

    per_tail: int = 25
    n_references: int = N_REFERENCE_QUERIES
    n_random: int = N_RANDOM_QUERIES
    seed: int = 0


def ask_library(
    index: ConnectivityIndex,
    table: pl.DataFrame,
    prepared: PreparedQuery,
    *,
    library: str,
    rows: NDArray[np.int64] | None = None,
    mapping: MappingReport | None = None,
    options: QueryOptions | None = None,
    remarks: tuple[str, ...] = (),
    progress: ProgressCallback = no_progress,
    null_of: NullReader = random_scores,
) -> QueryResult:
    """Score a signature against every reference of one library, and rank them.

    Parameters
    ----------
    index
        N profiles.
    table
        One row a profile (N): sig_id, cell_iname, pert_type and what else shall stand in the result.
    prepared
        The signature over the index's genes.
    library
        What the profiles are, in words: "predicted (screens/first)".
    rows
        (M,) rising rows that are searched; all where None.
    mapping
        How the signature's genes were mapped.
    options
        How it is asked.
    remarks
        What was left out before.
    progress
        Told of references compared.
    null_of
        Returns what `random_scores` does; a server that is asked again and again may remember it.

    Raises
    ------
    SchemaError
        Table, index and signature do not fit together, or no row is searched.
    """
    asked = options or QueryOptions()
    searched = np.arange(table.height, dtype=np.int64) if rows is None else rows
    _require_fitting(index, table, prepared, searched)
    own = table[searched]
    strata = Strata.of(own)
    raw = index.scores(prepared.queries(), rows, progress)
    normal = SignedMeans.of(raw, strata.of_row, len(strata)).normalise(raw, strata.of_row)[0]
    null = null_of(index, searched, strata, prepared, asked.seed, asked.n_random)
    references = ReferenceQueries(index, searched, strata, prepared, asked.seed, asked.n_references)
    columns = _columns(raw[0], normal, null, references, asked.per_tail)
    inward = columns["rank"].to_numpy() * np.where(raw[0] < 0, -1, 1)
    order = np.lexsort((inward, -np.sign(raw[0])))
    return QueryResult(
        score=prepared.score,
        library=library,
        table=own.with_columns(pl.lit(library).alias("library"), *columns)[order],
        per_tail=asked.per_tail,
        n_strata=len(strata),
        mapping=mapping,
        significance=_significance(len(searched), null, prepared.score),
        remarks=(*remarks, *_remarks(strata, raw[0], normal, prepared.score)),
    )


def _columns(
    raw: NDArray[np.float32],
    normal: NDArray[np.float64],
    null: NDArray[np.float32] | None,
    references: ReferenceQueries,
    per_tail: int,
) -> pl.DataFrame:
    """Return raw_cs, norm_cs, tau of the reported rows, fdr_q_nlog10, word and rank of each reference."""
    word, rank = _ranked(raw, normal)
    tau = np.full(len(raw), np.nan)
    places = np.flatnonzero((rank <= per_tail) & (raw != 0) & np.isfinite(normal)).astype(np.int64)
    if len(places):
        tau[places] = references.tau(places, normal[places])
    q = np.full(len(raw), np.nan) if null is None else q_values(raw, null)
    return pl.DataFrame(
        {
            "raw_cs": raw.astype(np.float64),
            "norm_cs": normal,
            "tau": tau,
            "fdr_q_nlog10": -np.log10(np.maximum(q, _SMALLEST_Q)) + 0.0,
            "word": pl.Series(word, dtype=pl.String),
            "rank": rank,
        }
    ).with_columns(pl.col("norm_cs", "tau", "fdr_q_nlog10").fill_nan(None))


def _require_fitting(
    index: ConnectivityIndex, table: pl.DataFrame, prepared: PreparedQuery, rows: NDArray[np.int64]
) -> None:
    if table.height != index.n_profiles or prepared.n_genes != index.n_genes:
        raise SchemaError(
            f"The library has {index.n_profiles:,} profiles x {index.n_genes:,} genes, its table "
            f"{table.height:,} rows and the signature {prepared.n_genes:,} genes. Prepare the signature for "
            "the library's genes."
        )
    if not len(rows):
        raise SchemaError("No profile is left to search. Ask for other cell lines or types.")


def _ranked(
    raw: NDArray[np.float32], normal: NDArray[np.float64]
) -> tuple[list[str | None], NDArray[np.int64]]:
    """Return mimics or reverses (None for 0), and the rank of each reference within its tail from 1.

    Normalised scores are compared; references without one stand behind, by their raw score. Ties by row.
    """
    known = np.isfinite(normal)
    strength = np.abs(np.where(known, np.where(known, normal, 0.0), raw))
    order = np.lexsort((np.arange(len(raw)), -strength, ~known, -np.sign(raw)))
    signs = np.sign(raw)[order]
    rank = np.empty(len(raw), dtype=np.int64)
    for sign in (1, 0, -1):
        own = order[signs == sign]
        rank[own] = np.arange(1, len(own) + 1)
    words = {1: MIMICS, -1: REVERSES, 0: None}
    return [words[int(sign)] for sign in np.sign(raw)], rank


def _remarks(
    strata: Strata, raw: NDArray[np.float32], normal: NDArray[np.float64], score: str
) -> tuple[str, ...]:
    found = []
    unknown = np.unique(strata.of_row[~np.isfinite(normal)])
    if len(unknown):
        n_rows = int((~np.isfinite(normal)).sum())
        names = listed((strata.names[each] for each in unknown), 3)
        found.append(
            f"{counted(n_rows, 'profile')} without norm_cs and tau: fewer than {FEWEST_SCORES} scores of "
            f"their sign in their cell line and type ({names})."
        )
    n_zero = int((raw == 0).sum())
    if n_zero:
        why = ": up and down set move the same way" if score == "wtcs" else ""
        found.append(f"{counted(n_zero, 'profile')} with score 0{why}; they neither mimic nor reverse.")
    return tuple(found)


def _significance(n_rows: int, null: NDArray[np.float32] | None, score: str) -> str:
    if null is None:
        return f"No q-value: {score} grows with a profile's effect, so random queries are no common null."
    least = min(n_rows / (len(null) + 1), 1.0)
    return (
        f"fdr_q_nlog10: -log10 q (Benjamini-Hochberg, each sign by itself) beside {len(null):,} scores of "
        f"queries whose genes are dealt at random; one profile alone reaches q = {least:.2g} at best. Genes "
        "are correlated, so q is optimistic; tau is not."
    )
