"""What finished shards add up to: sig_info, hits, enrichment, neighbours, the committed profiles.

Every table is written whole or not at all and holds no time of day, so that an interrupted screen ends in
the same bytes as an undisturbed one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast.analysis.gene_sets import SetIndex
from pertcast.analysis.hits import rank_hits
from pertcast.analysis.neighbors import nearest_and_opposite
from pertcast_data.store.manifest import ShardRecord, commit_manifest
from pertcast_data.store.zarr_layout import open_array, write_obs

from pertcast_jobs.screen.enriched import EnrichmentStream, prerank_rows
from pertcast_jobs.screen.plan import ScreenPlan
from pertcast_jobs.screen.shards import ES_COLUMN
from pertcast_jobs.screen.workspace import PROFILES, Workspace

SIG_INFO = "sig_info.parquet"
ENRICHMENT = "enrichment.parquet"
NEIGHBORS = "neighbors.parquet"
HITS = ("hits.parquet", "hits.csv")
REFUSED = "refused.csv"


@dataclass(frozen=True)
class ScreenTables:
    """The tables of a screen, for its report.

    Attributes
    ----------
    sig_info
        One row a profile, in the order of the profiles.
    hits
        Ranked by effect.
    enrichment
        Enrichment of the reported hits, or None without gene sets.
    neighbors
        Nearest and opposite perturbations.
    strongest
        row -> profile (G,) float32 of the reported hits, in full precision.
    """

    sig_info: pl.DataFrame
    hits: pl.DataFrame
    enrichment: pl.DataFrame | None
    neighbors: pl.DataFrame
    strongest: dict[int, NDArray[np.float32]]


def write_tables(
    workspace: Workspace,
    plan: ScreenPlan,
    genes: tuple[str, ...],
    sets: SetIndex | None,
    tell: Callable[[str], None],
) -> ScreenTables:
    """Write every table of a screen whose shards are all finished, and commit its profiles."""
    statistics = _gather(workspace, plan)
    sig_info = statistics.drop(ES_COLUMN, strict=False)
    hits = rank_hits(sig_info)
    strongest = _strongest(workspace, plan, hits, sig_info)
    enrichment = None
    if sets is not None:
        tell("writing: enrichment")
        tested = prerank_rows(strongest, genes, sets, plan.settings)
        scores = statistics[ES_COLUMN].to_numpy()
        stream = EnrichmentStream(scores, sig_info["sig_id"], sets, tested, plan.settings.shard_rows)
        workspace.publish(workspace.path / ENRICHMENT, stream.write_parquet)
        enrichment = stream.rows_of(list(strongest))
    commit_profiles(workspace, plan, sig_info)
    tell("writing: neighbours")
    neighbors = nearest_and_opposite(sig_info, ProfileRead(workspace.profiles), plan.settings.per_tail)
    workspace.publish(workspace.path / SIG_INFO, sig_info.write_parquet)
    workspace.publish(workspace.path / HITS[0], hits.write_parquet)
    workspace.publish(workspace.path / HITS[1], hits.write_csv)
    workspace.publish(workspace.path / NEIGHBORS, neighbors.write_parquet)
    return ScreenTables(sig_info, hits, enrichment, neighbors, strongest)


def _gather(workspace: Workspace, plan: ScreenPlan) -> pl.DataFrame:
    files = [workspace.path / workspace.statistics_of(shard) for shard in range(plan.n_shards)]
    return pl.concat([pl.read_parquet(file) for file in files])


def _strongest(
    workspace: Workspace, plan: ScreenPlan, hits: pl.DataFrame, sig_info: pl.DataFrame
) -> dict[int, NDArray[np.float32]]:
    """Read the full-precision profiles of the reported hits, best first."""
    reported = hits.head(plan.settings.n_reported).select("sig_id")
    rows = sig_info.with_row_index("row").select(pl.col("row").cast(pl.Int64), "sig_id")
    wanted = reported.join(rows, on="sig_id", how="left", maintain_order="left")["row"].to_list()
    files = [workspace.path / workspace.strongest_of(shard) for shard in range(plan.n_shards)]
    kept = pl.concat([pl.scan_parquet(file) for file in files]).filter(pl.col("row").is_in(wanted)).collect()
    profiles = dict(zip(kept["row"], kept["profile"].to_numpy(), strict=True))
    return {row: profiles[row] for row in wanted if row in profiles}


def commit_profiles(workspace: Workspace, plan: ScreenPlan, sig_info: pl.DataFrame) -> None:
    """Write the observations of the profiles and commit their manifest."""
    root = workspace.profiles
    _forget_commit(workspace)
    write_obs(root, sig_info, None)
    prefix = f"{PROFILES}/"
    records = [
        ShardRecord(record.path.removeprefix(prefix), record.rows, record.bytes, record.crc32)
        for shard in range(plan.n_shards)
        for record in workspace.records(shard)
        if record.path.startswith(prefix)
    ]
    facts = {"kind": "screen", "plan_hash": plan.hash, "bundle_hash": plan.bundle_hash}
    commit_manifest(root, records, facts)


def _forget_commit(workspace: Workspace) -> None:
    """Undo a commit that a killed process may have begun, so that it can be made again to the same bytes."""
    root = workspace.profiles
    shutil.rmtree(root / "obs", ignore_errors=True)
    for file in root.iterdir():
        if file.is_file() and file.name != "zarr.json":
            file.unlink()
    for unfinished in root.rglob("*.partial"):
        unfinished.unlink()
    metadata = workspace.group_metadata.read_bytes()
    workspace.publish(root / "zarr.json", lambda path: path.write_bytes(metadata))


class ProfileRead:
    """Reads profiles of a screen by row, (M,) int64 -> (M, G) float32."""

    def __init__(self, root: Path) -> None:
        self._array = open_array(root, "X", mode="r")

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read rows; runs of neighbouring rows are read at once."""
        first, last = int(rows.min()), int(rows.max()) + 1
        if last - first <= 4 * len(rows):
            block = np.asarray(self._array[first:last])[rows - first]
        else:
            block = np.asarray(self._array.oindex[rows])
        return block.astype(np.float32)
