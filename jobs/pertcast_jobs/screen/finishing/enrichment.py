"""The enrichment table of a screen: a row for every profile and set, written a shard at a time.

Scores and size-matched nulls come with the shards; how a score stands among those of the whole screen needs
each set's scores once, which are read back from a scratch file set by set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast.analysis.enrichment import PRERANK_SCHEMA, prerank, screen_z
from pertcast.analysis.gene_sets import SetIndex

from pertcast_jobs.screen.plan import ScreenPlan, ScreenSettings
from pertcast_jobs.screen.summaries import ES, SET_COLUMNS
from pertcast_jobs.screen.workspace import Workspace, write_blocks

ENRICHMENT: Final = "enrichment.parquet"
_OF_PRERANK: Final = ("nes", "pval", "fdr")
_TESTED_SCHEMA: Final = {
    "row": pl.Int64,
    "term": pl.String,
    **{f"prerank_{name}": PRERANK_SCHEMA[name] for name in _OF_PRERANK},
    "lead_genes": pl.String,
}
ENRICHMENT_COLUMNS: Final = (
    "sig_id",
    "term",
    *SET_COLUMNS,
    "screen_z",
    "size",
    *(f"prerank_{name}" for name in _OF_PRERANK),
    "lead_genes",
)
"""es, nes, pval, fdr (of a size-matched null) and screen_z of every profile and set; gseapy's prerank_* and
lead_genes of the reported hits, null elsewhere."""


def prerank_rows(
    profiles: Mapping[int, NDArray[np.float32]],
    genes: tuple[str, ...],
    sets: SetIndex,
    settings: ScreenSettings,
) -> pl.DataFrame:
    """Run gseapy's prerank on the reported hits: row, term, prerank_nes, _pval, _fdr, lead_genes."""
    tested = [
        prerank(profile, genes, sets, settings.permutations, settings.seed)
        .rename({name: f"prerank_{name}" for name in _OF_PRERANK})
        .with_columns(row=pl.lit(row, dtype=pl.Int64))
        .select(list(_TESTED_SCHEMA))
        for row, profile in profiles.items()
    ]
    return pl.concat([pl.DataFrame(schema=_TESTED_SCHEMA), *tested])


@dataclass(frozen=True)
class ShardScores:
    """Reads what shards hold of each of their profiles and sets.

    Attributes
    ----------
    workspace, plan
        The screen.
    """

    workspace: Workspace
    plan: ScreenPlan

    def of(self, shard: int) -> pl.DataFrame:
        """Return sig_id and one array a row of `SET_COLUMNS`."""
        path = self.workspace.path / self.workspace.statistics_of(shard)
        return pl.read_parquet(path, columns=["sig_id", *SET_COLUMNS])

    def centre(self, n_sets: int) -> NDArray:
        """Return median and spread of each set's scores over the screen; a set at a time from a scratch file."""
        scratch = self.workspace.parts / "scores.bin"
        n_rows, start = self.plan.n_profiles, 0
        with scratch.open("wb+") as file:
            file.truncate(n_sets * n_rows * 8)
            for shard in range(self.plan.n_shards):
                path = self.workspace.path / self.workspace.statistics_of(shard)
                scores = pl.read_parquet(path, columns=[ES])[ES].to_numpy()
                for number, column in enumerate(np.ascontiguousarray(scores.T)):
                    file.seek((number * n_rows + start) * 8)
                    file.write(column.tobytes())
                start += len(scores)

            file.seek(0)
            found = np.frombuffer(file.read(), dtype=np.float64).reshape(n_sets, n_rows).T
        scratch.unlink()
        return found


def write_enrichment(scores: ShardScores, sets: SetIndex, tested: pl.DataFrame) -> None:
    """Write enrichment.parquet, a row group a shard."""
    workspace, plan = scores.workspace, scores.plan
    centre = scores.centre(len(sets))

    def blocks() -> Iterator[pl.DataFrame]:
        for shard in range(plan.n_shards):
            yield rows_of(scores.of(shard), plan.rows_of(shard).start, sets, centre, tested)

    workspace.publish(workspace.path / ENRICHMENT, lambda path: write_blocks(path, blocks()))


def rows_of(
    table: pl.DataFrame, first_row: int, sets: SetIndex, centre: NDArray, tested: pl.DataFrame
) -> pl.DataFrame:
    """Return `ENRICHMENT_COLUMNS` of neighbouring profiles, set after set.

    Parameters
    ----------
    table
        sig_id and `SET_COLUMNS` of n profiles.
    first_row
        Row of the first in the screen.
    sets, centre
        The S gene sets, and their scores over the screen.
    tested
        From `prerank_rows`.
    """
    n_sets = len(sets)
    repeated = np.repeat(np.arange(table.height), n_sets)
    values: dict[str, Any] = {name: table[name].to_numpy() for name in SET_COLUMNS}
    z = screen_z(centre)[first_row : first_row + table.height]
    columns = {
        "row": repeated + first_row,
        "sig_id": table["sig_id"].gather(repeated),
        "term": pl.Series(sets.names, dtype=pl.String).gather(np.tile(np.arange(n_sets), table.height)),
        **{name: array.ravel() for name, array in values.items()},
        "screen_z": z.ravel(),
        "size": np.tile(sets.sizes, table.height),
    }
    joined = pl.DataFrame(columns).join(tested, on=["row", "term"], how="left", maintain_order="left")
    return joined.select(ENRICHMENT_COLUMNS).with_columns(pl.col(*SET_COLUMNS, "screen_z").fill_nan(None))


def reported_rows(path: Path, sig_ids: list[str]) -> pl.DataFrame:
    """Return the rows of the reported hits from enrichment.parquet."""
    return pl.scan_parquet(path).filter(pl.col("sig_id").is_in(sig_ids)).collect()
