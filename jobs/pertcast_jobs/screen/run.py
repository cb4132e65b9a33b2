"""A screen from its request to its report: compute what is missing, write, declare complete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl
from pertcast.evaluation.hit_calibration import FDR_LEVELS
from pertcast.screens.files import HITS
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast_jobs.screen.executors import Executor, Resources, get_executor
from pertcast_jobs.screen.finishing.finish import finish
from pertcast_jobs.screen.plan import ScreenPlan
from pertcast_jobs.screen.prepare import PreparedScreen, ScreenRequest, prepare_screen
from pertcast_jobs.screen.profiles import create_profiles
from pertcast_jobs.screen.remote import worker_inputs, workspace_of
from pertcast_jobs.screen.workspace import ScreenUrl, Workspace

MOST_HITS: Final = 1_000
"""Hits that an outcome carries; all of them are in hits.parquet."""


@dataclass(frozen=True, slots=True)
class ScreenOutcome:
    """A finished screen.

    Attributes
    ----------
    out
        Where it is.
    n_profiles, n_computed, n_refused
        Profiles, those of them that this call computed, rows of the list that were left out.
    n_calibrated, n_hits
        Conditions with a false-discovery rate, and hits by its level.
    uncalibrated
        Why most conditions without a false-discovery rate have none; None where that is not told.
    hits
        The first `MOST_HITS` of hits.parquet.
    """

    out: Path | ScreenUrl
    n_profiles: int
    n_computed: int
    n_refused: int
    n_calibrated: int
    n_hits: Mapping[float, int]
    uncalibrated: str | None
    hits: pl.DataFrame


def run_screen(
    request: ScreenRequest,
    out: Path | str,
    executor: str = "ray-data",
    progress: ProgressCallback = no_progress,
    resources: Resources | None = None,
) -> ScreenOutcome:
    """Compute a screen, or finish an interrupted one, and write everything that belongs to it.

    Parameters
    ----------
    request
        What to predict with which bundle.
    out
        Folder of the screen, or its place in a bucket (s3://, gs://): empty, absent, or holding this very
        screen.
    executor
        "ray-data", "serve" or "in-process".
    progress
        Called with profiles done and profiles in all.
    resources
        Workers and GPUs; as many workers as there are CPUs where None.

    Raises
    ------
    ConfigError
        `out` holds something else.
    StorageError
        The bucket cannot be used; the same command goes on later.
    PertcastError
        Of `prepare_screen` and of the bundle.
    """
    return compute_screen(prepare_screen(request), out, executor, progress, resources)


def compute_screen(
    prepared: PreparedScreen,
    out: Path | str,
    executor: str = "ray-data",
    progress: ProgressCallback = no_progress,
    resources: Resources | None = None,
) -> ScreenOutcome:
    """Compute a prepared screen; see `run_screen`."""
    execute = get_executor(executor)
    plan = prepared.plan
    workspace = workspace_of(out, plan)
    if workspace.is_complete(plan):
        workspace.release()
        return _outcome(workspace, plan, 0)

    def tell(note: str) -> None:
        progress(plan.n_profiles, plan.n_profiles, note)

    workspace.begin(plan, prepared.predictor.genes)
    with workspace.alone():
        computed = 0
        if not workspace.is_written:
            computed = _compute(workspace, prepared, execute, progress, resources or Resources())
        workspace.deliver(tell)
    return _outcome(workspace, plan, computed)


def _compute(
    workspace: Workspace,
    prepared: PreparedScreen,
    execute: Executor,
    progress: ProgressCallback,
    resources: Resources,
) -> int:
    """Compute the shards that are missing and write the screen; return how many profiles were computed."""
    plan = prepared.plan
    create_profiles(workspace, plan, prepared.predictor.genes, prepared.layers)
    workspace.offer(worker_inputs(prepared.layers))
    finished = set(workspace.finished_shards(plan))
    pending = [shard for shard in range(plan.n_shards) if shard not in finished]
    found = done = sum(plan.n_rows_of(shard) for shard in finished)
    progress(done, plan.n_profiles, "resumed" if finished else "")

    def tell(note: str) -> None:
        progress(plan.n_profiles, plan.n_profiles, note)

    if not pending:
        finish(workspace, prepared, tell)
        return 0
    task = prepared.task(workspace.path, workspace.location)
    # Finished inside: workers that scale with the load go back to one while the tables are written.
    with execute(task, prepared.predictor, resources) as compute:
        for shard in compute(pending):
            done += shard.rows
            progress(done, plan.n_profiles, shard.note)
        finish(workspace, prepared, tell)
    return plan.n_profiles - found


def _outcome(workspace: Workspace, plan: ScreenPlan, computed: int) -> ScreenOutcome:
    hits = pl.scan_parquet(workspace.finished_file(HITS))
    counts = [pl.col("fdr").is_not_null().sum().alias("all")]
    counts += [(pl.col("fdr") <= level).sum().alias(str(level)) for level in FDR_LEVELS]
    counts.append(
        pl.col("calibration").filter(pl.col("p_value").is_null()).drop_nulls().mode().sort().first()
    )
    found = hits.select(counts).collect().row(0, named=True)
    return ScreenOutcome(
        out=workspace.place,
        n_profiles=plan.n_profiles,
        n_computed=computed,
        n_refused=len(plan.refused),
        n_calibrated=found["all"],
        n_hits={level: found[str(level)] for level in FDR_LEVELS},
        uncalibrated=None if found["calibration"] is None else found["calibration"].removeprefix("none: "),
        hits=hits.head(MOST_HITS).collect(),
    )
