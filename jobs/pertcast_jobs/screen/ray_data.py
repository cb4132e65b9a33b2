"""The executor on Ray Data: shard numbers flow through actors that hold the bundle, results stream back.

Only numbers travel through Ray; profiles are written by the actor that computed them. A shard whose
actor died is computed again by another, to the same bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import ray
import ray.data
from pertcast.predictor import Predictor
from pertcast_data.errors import ConfigError, CorruptBundle, CorruptStore, PertcastError, SchemaError

from pertcast_jobs.ray_session import ray_session
from pertcast_jobs.screen.shards import ShardDone, ShardEngine, ShardTask

_BLOCKS_A_WORKER = 64
_EXPECTED = {error.__name__: error for error in (ConfigError, CorruptBundle, CorruptStore, SchemaError)}


class ShardWorker:
    """One actor: loads the bundle with its first shard, computes the shards it is given.

    An expected error travels as a row: Ray would hand it on as text inside a traceback of its own.
    """

    def __init__(self, task: ShardTask) -> None:
        self._task = task

    @cached_property
    def _engine(self) -> ShardEngine:
        return ShardEngine(self._task)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Compute the shard of a row; "failure" and "message" are empty unless it failed."""
        try:
            done = self._engine.run(int(row["shard"]))
        except PertcastError as error:
            return {**row, "rows": 0, "failure": type(error).__name__, "message": str(error)}
        return {"shard": done.shard, "rows": done.rows, "failure": "", "message": ""}


def ray_data(task: ShardTask, shards: Sequence[int], predictor: Predictor) -> Iterator[ShardDone]:
    """Compute the shards on the Ray that is there, or on one started for the length of the screen."""
    with ray_session(dashboard=False), _quiet():
        workers = max(1, min(len(shards), int(ray.cluster_resources().get("CPU", 1))))
        blocks = min(len(shards), _BLOCKS_A_WORKER * workers)
        numbers = ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=blocks)
        finished = numbers.map(
            ShardWorker,
            fn_constructor_args=(task,),
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
        )
        for row in finished.iter_rows():
            if row["failure"]:
                raise _EXPECTED.get(row["failure"], PertcastError)(row["message"])
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
