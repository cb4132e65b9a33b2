"""The executor on Ray Data: shard numbers flow through a pool of actors that hold the bundle.

Only numbers travel through Ray; profiles are written by the actor that computed them. A shard whose
actor died is computed again by another, to the same bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import ray.data
from pertcast.predictor import Predictor
from ray.exceptions import RayActorError
from ray.util.annotations import RayDeprecationWarning

from pertcast_jobs.ray_pieces import quiet_ray_data
from pertcast_jobs.ray_session import ray_session
from pertcast_jobs.screen.executors import Resources, ShardRunner
from pertcast_jobs.screen.ray_workers import (
    TRIES_A_SHARD,
    Worker,
    died,
    shard_done,
    worker_limits,
    worker_options,
)
from pertcast_jobs.screen.shards import ShardDone, ShardTask


class ShardActor:
    """One actor of the pool; it loads the bundle with its first shard, where an error of it can be told."""

    def __init__(self, task: ShardTask) -> None:
        self._worker = Worker(task)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Compute the shard of a row."""
        return self._worker.compute(int(row["shard"]))


@contextmanager
def ray_data(task: ShardTask, predictor: Predictor, resources: Resources) -> Iterator[ShardRunner]:
    """Compute shards on the Ray that is there, or on one started for the length of the block."""
    with ray_session(dashboard=False) as session, quiet_ray_data(), ExitStack() as running:
        least, most = worker_limits(resources, session)

        def compute(shards: Sequence[int]) -> Iterator[ShardDone]:
            limits = min(least, len(shards)), min(most, len(shards))
            finished = _compute(task, shards, limits, worker_options(resources))
            # A screen that is given up ends its actors, also on a Ray that goes on.
            running.callback(finished.close)
            return finished

        yield compute


def _compute(
    task: ShardTask, shards: Sequence[int], limits: tuple[int, int], options: dict[str, float]
) -> Generator[ShardDone, None, None]:
    if not shards:
        return
    # A block a shard: a dead actor's block is done again whole, and a block is handed on when all is done.
    numbers = ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards))
    with warnings.catch_warnings():
        # Ray says that remote arguments will be named ones, and has no name for this one yet.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        finished = numbers.map(
            ShardActor,
            fn_constructor_args=(task,),
            compute=ray.data.ActorPoolStrategy(
                min_size=limits[0], max_size=limits[1], max_tasks_in_flight_per_actor=2
            ),
            # Without it, a shard that kills its actor would do so for ever.
            max_task_retries=TRIES_A_SHARD - 1,
            **options,
        )
    try:
        yield from map(shard_done, _rows(finished))
    except RayActorError as error:
        raise died("a shard", error) from error


def _rows(finished: ray.data.Dataset) -> Iterator[dict[str, Any]]:
    """Yield rows as they come; without prefetching, which holds each back until the next one is there."""
    for batch in finished.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0):
        for values in zip(*batch.values(), strict=True):
            yield dict(zip(batch, values, strict=True))
