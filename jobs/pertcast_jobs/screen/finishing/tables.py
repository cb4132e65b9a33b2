"""sig_info and the committed profiles of a screen, from the tables of its shards, a shard at a time."""

from __future__ import annotations

import shutil

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast.screens.files import PROFILES, SIG_INFO
from pertcast.screens.sig_info import SigInfo
from pertcast_data.store.frame_blocks import write_frame_blocks
from pertcast_data.store.manifest import ShardRecord, commit_manifest

from pertcast_jobs.screen.plan import ScreenPlan
from pertcast_jobs.screen.summaries import SET_COLUMNS
from pertcast_jobs.screen.workspace import Workspace, write_blocks


def write_sig_info(workspace: Workspace, plan: ScreenPlan) -> SigInfo:
    """Write sig_info.parquet, a row group a shard."""
    path = workspace.path / SIG_INFO
    blocks = (
        pl.read_parquet(workspace.path / workspace.statistics_of(shard)).drop(SET_COLUMNS, strict=False)
        for shard in range(plan.n_shards)
    )
    workspace.publish(path, lambda target: write_blocks(target, blocks))
    return SigInfo(path, plan.n_profiles)


def strongest_of(
    workspace: Workspace, plan: ScreenPlan, rows: NDArray[np.int64]
) -> dict[int, NDArray[np.float32]]:
    """Return the full-precision profiles of reported hits: row -> (G,) float32, in the order of `rows`."""
    wanted = rows.tolist()
    found: dict[int, NDArray[np.float32]] = {}
    for shard in sorted({row // plan.settings.shard_rows for row in wanted}):
        kept = pl.read_parquet(workspace.path / workspace.strongest_of(shard))
        kept = kept.filter(pl.col("row").is_in(wanted))
        found.update(zip(kept["row"], kept["profile"].to_numpy(), strict=True))
    return {row: found[row] for row in wanted}


def commit_profiles(workspace: Workspace, plan: ScreenPlan, sig_info: SigInfo) -> None:
    """Write the observations of the profiles and commit their manifest."""
    root = workspace.profiles
    _forget_commit(workspace)
    write_frame_blocks(
        root, "obs", pl.read_parquet_schema(sig_info.path), sig_info.n_rows, sig_info.column, "sig_id"
    )
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
