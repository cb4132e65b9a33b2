"""A screen from its request to its report: compute what is missing, write, declare complete."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast_jobs.screen.executors import Executor, get_executor
from pertcast_jobs.screen.finish import finish
from pertcast_jobs.screen.plan import ScreenPlan
from pertcast_jobs.screen.prepare import PreparedScreen, ScreenRequest, prepare_screen
from pertcast_jobs.screen.shards import create_profiles
from pertcast_jobs.screen.workspace import Workspace


@dataclass(frozen=True, slots=True)
class ScreenOutcome:
    """A finished screen: where it is, what it holds, what this call did."""

    out: Path
    n_profiles: int
    n_computed: int
    n_refused: int
    hits: pl.DataFrame


def run_screen(
    request: ScreenRequest, out: Path, executor: str = "ray-data", progress: ProgressCallback = no_progress
) -> ScreenOutcome:
    """Compute a screen, or finish an interrupted one, and write everything that belongs to it.

    Parameters
    ----------
    request
        What to predict with which bundle.
    out
        Folder of the screen: empty, absent, or holding this very screen.
    executor
        "ray-data" or "in-process".
    progress
        Called with profiles done and profiles in all.

    Raises
    ------
    ConfigError
        `out` holds something else.
    PertcastError
        Of `prepare_screen` and of the bundle.
    """
    return compute_screen(prepare_screen(request), out, executor, progress)


def compute_screen(
    prepared: PreparedScreen, out: Path, executor: str = "ray-data", progress: ProgressCallback = no_progress
) -> ScreenOutcome:
    """Compute a prepared screen; see `run_screen`."""
    execute = get_executor(executor)
    plan, workspace = prepared.plan, Workspace(out)
    if workspace.is_complete(plan):
        workspace.clean_up()
        return _outcome(out, plan, 0)
    workspace.begin(plan, prepared.predictor.genes)
    with workspace.alone():
        computed = _compute(workspace, prepared, execute, progress)
        finish(workspace, prepared, lambda note: progress(plan.n_profiles, plan.n_profiles, note))
    return _outcome(out, plan, computed)


def _compute(
    workspace: Workspace, prepared: PreparedScreen, execute: Executor, progress: ProgressCallback
) -> int:
    """Compute the shards that are not there yet; return the number of profiles computed."""
    plan = prepared.plan
    create_profiles(workspace, plan, prepared.predictor.genes, prepared.layers)
    finished = set(workspace.finished_shards(plan))
    pending = [shard for shard in range(plan.n_shards) if shard not in finished]
    done = sum(_rows(plan, shard) for shard in finished)
    computed = 0
    progress(done, plan.n_profiles, "resumed" if finished else "")
    if pending:
        for shard in execute(prepared.task(workspace.path), pending, prepared.predictor):
            computed += shard.rows
            progress(done + computed, plan.n_profiles)
    return computed


def _rows(plan: ScreenPlan, shard: int) -> int:
    rows = plan.rows_of(shard)
    return len(range(plan.n_profiles)[rows])


def _outcome(out: Path, plan: ScreenPlan, computed: int) -> ScreenOutcome:
    hits = pl.read_parquet(out / "hits.parquet")
    return ScreenOutcome(out, plan.n_profiles, computed, len(plan.refused), hits)
