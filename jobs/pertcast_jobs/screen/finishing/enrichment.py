"""The enrichment table of a screen: a row for every profile and set, written a shard at a time.

Scores and size-matched nulls come with the shards; how a score stands among those of the whole screen needs
each set's scores once, which are read back from a scratch file set by set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast.analysis.enrichment import PRERANK_SCHEMA, ScreenCentre, prerank
from pertcast.analysis.gene_sets import SetIndex
from pertcast.screens.files import ENRICHMENT

from pertcast_jobs.screen.plan import ScreenPlan, ScreenSettings
from pertcast_jobs.screen.summaries import ES, SET_COLUMNS
from pertcast_jobs.screen.workspace import Workspace, write_blocks

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
class ScoreTables:
    """Tables with sig_id and `SET_COLUMNS` (an array a row) of neighbouring profiles, one after the other.

    Attributes
    ----------
    paths
        Parquet files that hold every profile once, in order.
    n_profiles
        N.
    scratch
        Folder for a file of eight bytes a profile and set.
    """

    paths: Sequence[Path]
    n_profiles: int
    scratch: Path

    @classmethod
    def of_shards(cls, workspace: Workspace, plan: ScreenPlan) -> ScoreTables:
        """Return the tables that the shards of a screen left."""
        paths = [workspace.path / workspace.statistics_of(shard) for shard in range(plan.n_shards)]
        return cls(paths, plan.n_profiles, workspace.parts)

    def centre(self, n_sets: int) -> ScreenCentre:
        """Return median and spread of each set's scores over the screen, a set at a time from a file."""
        scratch = self.scratch / "scores.bin"
        start = 0
        with scratch.open("wb+") as file:
            file.truncate(n_sets * self.n_profiles * 8)
            for path in self.paths:
                scores = pl.read_parquet(path, columns=[ES])[ES].to_numpy()
                for number, column in enumerate(np.ascontiguousarray(scores.T)):
                    file.seek((number * self.n_profiles + start) * 8)
                    file.write(column.tobytes())
                start += len(scores)

            def column_of(number: int) -> NDArray[np.float64]:
                file.seek(number * self.n_profiles * 8)
                return np.frombuffer(file.read(self.n_profiles * 8), dtype=np.float64)

            found = ScreenCentre.of(column_of, n_sets)
        scratch.unlink()
        return found

    def blocks(self, sets: SetIndex, tested: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Yield `ENRICHMENT_COLUMNS` of all profiles, a table at a time; `tested` is from `prerank_rows`."""
        centre, start = self.centre(len(sets)), 0
        for path in self.paths:
            table = pl.read_parquet(path, columns=["sig_id", *SET_COLUMNS])
            yield rows_of(table, start, sets, centre, tested)
            start += table.height


def write_enrichment(workspace: Workspace, plan: ScreenPlan, sets: SetIndex, tested: pl.DataFrame) -> None:
    """Write enrichment.parquet, a row group a shard."""
    blocks = ScoreTables.of_shards(workspace, plan).blocks(sets, tested)
    workspace.publish(workspace.path / ENRICHMENT, lambda path: write_blocks(path, blocks))


def rows_of(
    table: pl.DataFrame, first_row: int, sets: SetIndex, centre: ScreenCentre, tested: pl.DataFrame
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
    z = centre.z(values[ES])
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
