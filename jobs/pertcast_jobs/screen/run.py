"""A screen from its request to its report: compute what is missing, write, declare complete."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast_jobs.screen.executors import get_executor

try:
    from pertcast_jobs.screen.executors import Resources, ShardRunner
except ImportError:
    from typing import Any as ShardRunner

    class Resources:
        pass

    _old = get_executor

    def get_executor(name):
        from contextlib import contextmanager

        f = _old(name)

        @contextmanager
        def g(task, predictor, resources):
            yield lambda shards: f(task, shards, predictor)

        return g


from pertcast_jobs.screen.finishing.finish import finish
from pertcast_jobs.screen.finishing.ranking import HITS
from pertcast_jobs.screen.plan import ScreenPlan
from pertcast_jobs.screen.prepare import PreparedScreen, ScreenRequest, prepare_screen
from pertcast_jobs.screen.profiles import create_profiles
from pertcast_jobs.screen.workspace import Workspace


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
    hits
        The first `MOST_HITS` of hits.parquet.
    """

    out: Path
    n_profiles: int
    n_computed: int
    n_refused: int
    hits: pl.DataFrame


def run_screen(
    request: ScreenRequest,
    out: Path,
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
        Folder of the screen: empty, absent, or holding this very screen.
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
    PertcastError
        Of `prepare_screen` and of the bundle.
    """
    return compute_screen(prepare_screen(request), out, executor, progress, resources)


def compute_screen(
    prepared: PreparedScreen,
    out: Path,
    executor: str = "ray-data",
    progress: ProgressCallback = no_progress,
    resources: Resources | None = None,
) -> ScreenOutcome:
    """Compute a prepared screen; see `run_screen`."""
    execute = get_executor(executor)
    plan, workspace = prepared.plan, Workspace(out)
    if workspace.is_complete(plan):
        workspace.clean_up()
        return _outcome(out, plan, 0)
    workspace.begin(plan, prepared.predictor.genes)
    with workspace.alone():
        create_profiles(workspace, plan, prepared.predictor.genes, prepared.layers)
        finished = set(workspace.finished_shards(plan))
        pending = [shard for shard in range(plan.n_shards) if shard not in finished]
        done = sum(plan.n_rows_of(shard) for shard in finished)
        progress(done, plan.n_profiles, "resumed" if finished else "")

        def tell(note: str) -> None:
            progress(plan.n_profiles, plan.n_profiles, note)

        if not pending:
            finish(workspace, prepared, tell)
            return _outcome(out, plan, 0)
        # Finished inside: workers that scale with the load go back to one while the tables are written.
        with execute(prepared.task(workspace.path), prepared.predictor, resources or Resources()) as compute:
            _compute(compute, pending, done, plan, progress)
            finish(workspace, prepared, tell)
    return _outcome(out, plan, plan.n_profiles - done)


def _compute(
    compute: ShardRunner, pending: list[int], done: int, plan: ScreenPlan, progress: ProgressCallback
) -> None:
    for shard in compute(pending):
        done += shard.rows
        progress(done, plan.n_profiles, shard.note)


def _outcome(out: Path, plan: ScreenPlan, computed: int) -> ScreenOutcome:
    hits = pl.scan_parquet(out / HITS[0]).head(MOST_HITS).collect()
    return ScreenOutcome(out, plan.n_profiles, computed, len(plan.refused), hits)
