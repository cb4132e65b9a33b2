"""Who computes the shards: an executor is entered for a screen and computes the shards asked of it.

Executors differ in where shards are computed, never in what: the engine is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Final, Protocol

from pertcast.predictor import Predictor
from pertcast_data.environment import prepare_environment
from pertcast_data.errors import ConfigError

from pertcast_jobs.executors import named_executor
from pertcast_jobs.screen.shards import ShardDone, ShardEngine, ShardTask


@dataclass(frozen=True, slots=True)
class Resources:
    """How many workers a screen may have, and what each of them holds.

    Attributes
    ----------
    most_workers
        Workers at most; as many as the CPUs (or GPUs) allow where None.
    least_workers
        Workers that are there from the beginning to the last shard.
    gpus_per_worker
        GPUs of a worker, 0.5 for two workers a GPU; a worker without one takes a CPU.
    """

    most_workers: int | None = None
    least_workers: int = 1
    gpus_per_worker: float = 0.0

    def __post_init__(self) -> None:
        if self.least_workers < 1 or (self.most_workers or self.least_workers) < self.least_workers:
            raise ConfigError(
                f"A screen cannot have {self.least_workers} to {self.most_workers} workers. It needs one at "
                "least, and at most no fewer than at least."
            )
        if self.gpus_per_worker < 0:
            raise ConfigError(f"{self.gpus_per_worker:g} GPUs a worker: write 0 or more.")


class ShardRunner(Protocol):
    """Computes shards in any order, each by one engine."""

    def __call__(self, shards: Sequence[int]) -> Iterator[ShardDone]:
        """Yield every shard once, as soon as it is written."""
        ...


class Executor(Protocol):
    """Gathers the workers of a screen for the length of a block."""

    def __call__(
        self, task: ShardTask, predictor: Predictor, resources: Resources
    ) -> AbstractContextManager[ShardRunner]:
        """Return a context whose value computes shards; `predictor` is the caller's loaded bundle.

        What the executor started is ended with the block, whatever ended the block.
        """
        ...


@contextmanager
def in_process(task: ShardTask, predictor: Predictor, resources: Resources) -> Iterator[ShardRunner]:
    """Compute the shards here, one after the other: for small screens and for tests."""
    engine = ShardEngine(task, predictor)

    def compute(shards: Sequence[int]) -> Iterator[ShardDone]:
        return (engine.run(shard) for shard in shards)

    yield compute


@dataclass(frozen=True, slots=True)
class _OnRay:
    """An executor of a module that imports Ray: imported when used, after Ray's switches are set."""

    name: str

    def __call__(
        self, task: ShardTask, predictor: Predictor, resources: Resources
    ) -> AbstractContextManager[ShardRunner]:
        prepare_environment()
        executor: Executor = getattr(import_module(f"pertcast_jobs.screen.{self.name}"), self.name)
        return executor(task, predictor, resources)


EXECUTORS: Final[Mapping[str, Executor]] = MappingProxyType(
    {"ray-data": _OnRay("ray_data"), "serve": _OnRay("ray_serve"), "in-process": in_process}
)
"""Name -> who computes the shards."""


def get_executor(name: str) -> Executor:
    """Return an executor by name; raises ConfigError with the known ones."""
    return named_executor(EXECUTORS, name)
