"""Who computes the shards: an executor takes a task and shard numbers and yields shards as they finish.

Executors differ in where shards are computed, never in what: the engine is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Final, Protocol

from pertcast.predictor import Predictor
from pertcast_data.environment import prepare_environment

from pertcast_jobs.executors import named_executor
from pertcast_jobs.screen.shards import ShardDone, ShardEngine, ShardTask


class Executor(Protocol):
    """Computes shards in any order, each by one engine."""

    def __call__(self, task: ShardTask, shards: Sequence[int], predictor: Predictor) -> Iterator[ShardDone]:
        """Yield every shard once it is written; `predictor` is the caller's loaded bundle."""
        ...


def in_process(task: ShardTask, shards: Sequence[int], predictor: Predictor) -> Iterator[ShardDone]:
    """Compute the shards here, one after the other: for small screens and for tests."""
    engine = ShardEngine(task, predictor)
    for shard in shards:
        yield engine.run(shard)


def _ray_data(task: ShardTask, shards: Sequence[int], predictor: Predictor) -> Iterator[ShardDone]:
    """Compute the shards on Ray Data; Ray is imported only here, after its switches are set."""
    prepare_environment()
    executor: Executor = import_module("pertcast_jobs.screen.ray_data").ray_data
    return executor(task, shards, predictor)


EXECUTORS: Final[Mapping[str, Executor]] = MappingProxyType({"ray-data": _ray_data, "in-process": in_process})


def get_executor(name: str) -> Executor:
    """Return an executor by name; raises ConfigError with the known ones."""
    return named_executor(EXECUTORS, name)
