"""The tables of a match: the best genes of every ranking, and the ranks of known targets."""

from __future__ import annotations

import numpy as np
import polars as pl

from pertcast.analysis.drug_targets.known import KnownPairs
from pertcast.analysis.drug_targets.ranking import Matcher, Ranked


def best_table(matcher: Matcher, ranked: Ranked, known: KnownPairs | None) -> pl.DataFrame:
    """Return drug, cell_iname, gene, type, score, rank, percentile, is_known of the best genes.

    Percentile: 100 at the top, 100 x (1 - (rank - 0.5) / genes of the ranking).
    """
    queries, genes = matcher.plan.table.select("drug", "cell_iname"), pl.Series(matcher.library.perturbed)
    parts = []
    for board in matcher.boards:
        best = ranked.best[board]
        is_held = best.gene >= 0
        query = np.broadcast_to(np.arange(len(best.gene))[:, None], best.gene.shape)[is_held]
        rank = np.broadcast_to(np.arange(1, best.gene.shape[1] + 1), best.gene.shape)[is_held]
        size = ranked.n_genes[board][query]
        part = queries[query].with_columns(
            genes.gather(best.gene[is_held]).alias("gene"),
            pl.lit(board).alias("type"),
            pl.Series("score", best.score[is_held], dtype=pl.Float32),
            pl.Series("rank", rank, dtype=pl.Int32),
            pl.Series("percentile", 100 * (1 - (rank - 0.5) / np.maximum(size, 1)), dtype=pl.Float64),
        )
        parts.append(part)
    table = pl.concat(parts)
    if known is None:
        return table.with_columns(pl.lit(None, dtype=pl.Boolean).alias("is_known"))
    flags = [
        gene in known.targets[drug] if drug in known.targets else None
        for drug, gene in table.select("drug", "gene").iter_rows()
    ]
    return table.with_columns(pl.Series("is_known", flags, dtype=pl.Boolean))


def known_table(matcher: Matcher, ranked: Ranked) -> pl.DataFrame:
    """Return drug, cell_iname, gene, type, score, rank, percentile, n_genes of the known pairs.

    Ranks run over all genes of the ranking, equal scores at their mean rank; only ranked pairs are listed.
    """
    queries, genes = matcher.plan.table.select("drug", "cell_iname"), pl.Series(matcher.library.perturbed)
    parts = []
    for board in matcher.boards:
        ranks = ranked.ranks[board]
        held = np.isfinite(ranks.score)
        query = ranks.pairs.query[held]
        rank = (1 + ranks.greater + ranks.equal / 2)[held]
        size = ranked.n_genes[board][query]
        part = queries[query].with_columns(
            genes.gather(ranks.pairs.gene[held]).alias("gene"),
            pl.lit(board).alias("type"),
            pl.Series("score", ranks.score[held], dtype=pl.Float32),
            pl.Series("rank", rank, dtype=pl.Float64),
            pl.Series("percentile", 100 * (1 - (rank - 0.5) / np.maximum(size, 1)), dtype=pl.Float64),
            pl.Series("n_genes", size, dtype=pl.Int64),
        )
        parts.append(part)
    return pl.concat(parts).sort("drug", "cell_iname", "type", "rank", maintain_order=True)
