"""The executor on Ray Data: shard numbers flow through actors that hold the bundle, results stream back.

Only numbers travel through Ray; profiles are written by the actor that computed them. A shard whose
actor died is computed again by another, to the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import ray
import ray.data
from pertcast.predictor import Predictor
from pertcast_data.errors import PertcastError

from pertcast_jobs.ray_pieces import NO_FAILURE, failure, quiet_ray_data, raise_failure
from pertcast_jobs.ray_session import ray_session
from pertcast_jobs.screen.shards import ShardDone, ShardEngine, ShardTask

_BLOCKS_A_WORKER = 64


class ShardWorker:
    """One actor: loads the bundle with its first shard, computes the shards it is given."""

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
            return {**row, "rows": 0, **failure(error)}
        return {"shard": done.shard, "rows": done.rows, **NO_FAILURE}


def ray_data(task: ShardTask, shards: Sequence[int], predictor: Predictor) -> Iterator[ShardDone]:
    """Compute the shards on the Ray that is there, or on one started for the length of the screen."""
    with ray_session(dashboard=False), quiet_ray_data():
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
            raise_failure(row)
            yield ShardDone(int(row["shard"]), int(row["rows"]))
