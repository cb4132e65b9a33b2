"""The executor on Ray Data: shard numbers flow through actors that hold the bundle, results stream back.

Only numbers travel through Ray; profiles are written by the actor that computed them. A shard whose
actor died is computed again by another, to the same bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import ray
import ray.data
from pertcast.predictor import Predictor
from pertcast_data.errors import PertcastError
from ray.exceptions import RayError

from pertcast_jobs.ray_session import ray_session
from pertcast_jobs.screen.shards import ShardDone, ShardEngine, ShardTask

_BLOCKS_A_WORKER = 64


class ShardWorker:
    """One actor: loads the bundle once, computes the shards it is given."""

    def __init__(self, task: ShardTask) -> None:
        self.engine = ShardEngine(task)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Compute the shards of a batch of shard numbers."""
        done = [self.engine.run(int(shard)) for shard in batch["shard"]]
        return {
            "shard": np.array([item.shard for item in done], dtype=np.int64),
            "rows": np.array([item.rows for item in done], dtype=np.int64),
        }


def ray_data(task: ShardTask, shards: Sequence[int], predictor: Predictor) -> Iterator[ShardDone]:
    """Compute the shards on the Ray that is there, or on one started for the length of the screen."""
    with ray_session(dashboard=False):
        try:
            yield from _stream(task, shards)
        except RayError as error:
            cause = _expected_cause(error)
            if cause is None:
                raise
            raise cause from error


def _stream(task: ShardTask, shards: Sequence[int]) -> Iterator[ShardDone]:
    workers = max(1, min(len(shards), int(ray.cluster_resources().get("CPU", 1))))
    blocks = min(len(shards), _BLOCKS_A_WORKER * workers)
    with _quiet():
        numbers = ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=blocks)
        finished = numbers.map_batches(
            ShardWorker,
            fn_constructor_args=(task,),
            batch_size=1,
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
        )
        for row in finished.iter_rows():
            yield ShardDone(int(row["shard"]), int(row["rows"]))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray Data's own bars and notes off the terminal: the command line shows one bar."""
    context, logger = ray.data.DataContext.get_current(), logging.getLogger("ray.data")
    before, level = context.enable_progress_bars, logger.level
    context.enable_progress_bars = False
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        context.enable_progress_bars = before
        logger.setLevel(level)


def _expected_cause(error: BaseException) -> PertcastError | None:
    """Find the error that a worker raised on purpose behind Ray's wrappers."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, PertcastError):
            return seen
        seen = getattr(seen, "cause", None) or seen.__cause__
    return None
