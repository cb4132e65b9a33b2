"""The enrichment table of a screen: exact scores of every profile and set, permutation results of the hits.

It has a row for every profile and set, so it is written block by block and never held in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pertcast.analysis.enrichment import PRERANK_SCHEMA, prerank, screen_z
from pertcast.analysis.gene_sets import SetIndex

from pertcast_jobs.screen.plan import ScreenSettings

ENRICHMENT_COLUMNS = ("sig_id", "term", "es", "nes", "pval", "fdr", "screen_z", "size", "lead_genes")
_TESTED = ("nes", "pval", "fdr", "lead_genes")
_TESTED_SCHEMA = {
    "row": pl.Int64,
    "term": pl.String,
    **{name: PRERANK_SCHEMA[name] for name in _TESTED},
}


def prerank_rows(
    profiles: Mapping[int, NDArray[np.float32]],
    genes: tuple[str, ...],
    sets: SetIndex,
    settings: ScreenSettings,
) -> pl.DataFrame:
    """Run gseapy's prerank on the reported hits: row, term, nes, pval, fdr, lead_genes."""
    tested = [
        prerank(profile, genes, sets, settings.permutations, settings.seed)
        .with_columns(row=pl.lit(row, dtype=pl.Int64))
        .select(list(_TESTED_SCHEMA))
        for row, profile in profiles.items()
    ]
    return pl.concat([pl.DataFrame(schema=_TESTED_SCHEMA), *tested])


class EnrichmentStream:
    """Rows of the enrichment table, made on demand.

    es and screen_z are exact for every profile; nes, pval, fdr and lead_genes are gseapy's and stand for the
    reported hits only, null elsewhere.

    Parameters
    ----------
    scores
        (N, S) enrichment scores.
    sig_ids
        Names of the N profiles.
    sets
        The S gene sets.
    tested
        From `prerank_rows`.
    block_rows
        Profiles written at once.
    """

    def __init__(
        self,
        scores: NDArray[np.float64],
        sig_ids: pl.Series,
        sets: SetIndex,
        tested: pl.DataFrame,
        block_rows: int,
    ) -> None:
        self._scores = scores
        self._screen_z = screen_z(scores)
        self._sig_ids = sig_ids
        self._sets = sets
        self._tested = tested
        self._block_rows = block_rows

    def rows_of(self, profiles: Iterable[int]) -> pl.DataFrame:
        """Return the table's rows of some profiles, `ENRICHMENT_COLUMNS`, set after set."""
        rows = np.fromiter(profiles, dtype=np.int64)
        n_sets = len(self._sets)
        repeated = np.repeat(rows, n_sets)
        terms = pl.Series("term", self._sets.names, dtype=pl.String)
        table = pl.DataFrame(
            {
                "row": repeated,
                "sig_id": self._sig_ids.gather(repeated),
                "term": terms.gather(np.tile(np.arange(n_sets), len(rows))),
                "es": self._scores[rows].ravel(),
                "screen_z": self._screen_z[rows].ravel(),
                "size": np.tile(self._sets.sizes, len(rows)),
            }
        )
        joined = table.join(self._tested, on=["row", "term"], how="left", maintain_order="left")
        return joined.select(ENRICHMENT_COLUMNS).with_columns(pl.col("es", "screen_z").fill_nan(None))

    def write_parquet(self, path: Path) -> None:
        """Write the whole table, a row group a block of profiles."""
        starts = range(0, len(self._scores), self._block_rows)
        blocks = (range(start, min(start + self._block_rows, len(self._scores))) for start in starts)
        schema = self.rows_of(()).to_arrow().schema
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for block in blocks:
                writer.write_table(self.rows_of(block).to_arrow().cast(schema))
