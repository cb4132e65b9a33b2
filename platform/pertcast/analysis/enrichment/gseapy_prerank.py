"""gseapy's prerank for single profiles: the full permutation test, asked for the reported hits only."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import gseapy
import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray

from pertcast.analysis.enrichment.ranking import ranked_order
from pertcast.analysis.gene_sets import SetIndex

PRERANK_SCHEMA: Final = {
    "term": pl.String,
    "es": pl.Float64,
    "nes": pl.Float64,
    "pval": pl.Float64,
    "fdr": pl.Float64,
    "size": pl.Int64,
    "lead_genes": pl.String,
}


def prerank(
    profile: NDArray[np.floating],
    genes: Sequence[str],
    sets: SetIndex,
    permutations: int = 1000,
    seed: int = 0,
) -> pl.DataFrame:
    """Run gseapy's prerank on one profile: permuted gene labels, NES, p, FDR over the sets, leading edge.

    Parameters
    ----------
    profile
        (G,) finite response.
    genes
        Names of the G genes.
    sets
        S gene sets over these genes.
    permutations
        Number of permutations; the smallest p is about 1 / permutations.
    seed
        Seed of the permutations.

    Returns
    -------
    DataFrame
        term, es, nes, pval, fdr, size, lead_genes ("A;B"), in the order of `sets.names`; empty for a profile
        of one value only, which has no ranking.
    """
    if np.ptp(profile) == 0:
        return pl.DataFrame(schema=PRERANK_SCHEMA)
    order = ranked_order(np.asarray(profile)[None, :])[0]
    ranking = pd.DataFrame(
        {"gene": [genes[index] for index in order], "score": np.asarray(profile, dtype=np.float64)[order]}
    )
    tested = {name: [genes[member] for member in sets.members_of(i)] for i, name in enumerate(sets.names)}
    asked = gseapy.Prerank(
        rnk=ranking,
        gene_sets=tested,
        outdir=None,
        min_size=1,
        max_size=sets.n_genes,
        permutation_num=permutations,
        ascending=None,
        threads=1,
        no_plot=True,
        seed=seed,
        verbose=False,
    )
    # It remarks on ties, which are in gene order here. Each has its own logger; others may work beside it.
    asked._logger.setLevel(logging.ERROR)
    asked.run()
    return _prerank_table(asked.res2d, sets)


def _prerank_table(found: pd.DataFrame, sets: SetIndex) -> pl.DataFrame:
    def numbers(column: str) -> list[float]:
        return [float(value) for value in found[column]]

    table = pl.DataFrame(
        {
            "term": [str(term) for term in found["Term"]],
            "es": numbers("ES"),
            "nes": numbers("NES"),
            "pval": numbers("NOM p-val"),
            "fdr": numbers("FDR q-val"),
            "lead_genes": [str(genes) for genes in found["Lead_genes"]],
        },
        schema_overrides={name: PRERANK_SCHEMA[name] for name in ("term", "lead_genes")},
    )
    order = pl.DataFrame({"term": list(sets.names), "size": sets.sizes})
    joined = order.join(table, on="term", how="left", maintain_order="left")
    return joined.select(list(PRERANK_SCHEMA)).with_columns(pl.col("es", "nes", "pval", "fdr").fill_nan(None))
