"""What the executors on Ray share: how many workers a screen has, what each reserves, what one answers.

A worker answers with a row: the shard, its rows, and its error where it failed on purpose.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import ray
from pertcast_data.errors import ConfigError, PertcastError

from pertcast_jobs.ray_pieces import NO_FAILURE, failure, raise_failure
from pertcast_jobs.ray_session import RaySession
from pertcast_jobs.screen.executors import Resources
from pertcast_jobs.screen.shards import ShardDone, ShardEngine, ShardTask

TRIES_A_SHARD: Final = 5
"""A shard whose worker died this often is taken for the cause."""


class WorkersDied(PertcastError):
    """Workers kept dying, so that a shard could not be computed."""


class Worker:
    """Computes shards in a process of its own: loads the bundle, answers with rows.

    Parameters
    ----------
    task
        What to compute.
    """

    def __init__(self, task: ShardTask) -> None:
        self._task = task
        self._engine: ShardEngine | None = None

    def prepare(self) -> ShardEngine:
        """Load the bundle and predict once; done by the first shard where it was not done before."""
        if self._engine is None:
            engine = ShardEngine(self._task)
            engine.predictor.warm_up(self._task.settings.batch_size)
            self._engine = engine
        return self._engine

    def compute(self, shard: int) -> dict[str, Any]:
        """Return the row of a shard; "failure" and "message" are empty unless it failed."""
        try:
            done = self.prepare().run(shard)
        except PertcastError as error:
            return {"shard": shard, "rows": 0, **failure(error)}
        return {"shard": shard, "rows": done.rows, **NO_FAILURE}


def shard_done(row: Mapping[str, Any], note: str = "") -> ShardDone:
    """Return the shard of a row, or raise the error that the row carries."""
    raise_failure(row)
    return ShardDone(int(row["shard"]), int(row["rows"]), note)


def died(shard: str, error: BaseException) -> WorkersDied:
    """Return what to say of a shard whose workers died; the cause is kept in the traceback."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return WorkersDied(
        f"The workers of {shard} died {TRIES_A_SHARD} times ({reason}). Run the same command again: finished "
        "shards are kept. Where it dies again, memory may be short: use fewer --workers or --shard-rows."
    )


def worker_limits(resources: Resources, session: RaySession) -> tuple[int, int]:
    """Return workers at least and at most on the Ray in use.

    A Ray started for the screen stays as large as it is; one that was there may grow, so that what a user
    asks of it is asked for.

    Raises
    ------
    ConfigError
        GPUs are wanted and the Ray started for the screen has none.
    """
    offered = ray.cluster_resources()
    if resources.gpus_per_worker:
        available = int(offered.get("GPU", 0.0) / resources.gpus_per_worker + 1e-6)
        if session.is_own and not available:
            raise ConfigError(
                f"There is no GPU here for workers of {resources.gpus_per_worker:g} GPUs. Leave "
                "--gpus-per-worker out, or run on a machine that has one."
            )
    else:
        available = int(offered.get("CPU", 1.0))
    most = resources.most_workers or max(1, available)
    if session.is_own:
        most = min(most, max(1, available))
    return min(resources.least_workers, most), most


def worker_options(resources: Resources) -> dict[str, float]:
    """Return what Ray reserves for a worker."""
    if resources.gpus_per_worker:
        return {"num_cpus": 1, "num_gpus": resources.gpus_per_worker}
    return {"num_cpus": 1}
