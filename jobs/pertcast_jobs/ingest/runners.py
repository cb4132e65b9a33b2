"""Who does the pieces of an ingest: this process, or the workers of a Ray that is there or started for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType
from typing import Final, Protocol

from pertcast_data.environment import prepare_environment
from pertcast_data.ingest.writing.worker import Runner, in_process

from pertcast_jobs.executors import named_executor
from pertcast_jobs.ray_session import ray_session


class Executor(Protocol):
    """Makes a runner for the length of an ingest."""

    def __call__(self) -> AbstractContextManager[Runner]:
        """Return a context whose value does pieces."""
        ...


@contextmanager
def _here() -> Iterator[Runner]:
    yield in_process


@contextmanager
def _on_ray() -> Iterator[Runner]:
    """Use one Ray for both stages; it is imported only here, after its switches are set."""
    prepare_environment()
    with ray_session(dashboard=False):
        from pertcast_jobs.ingest.ray_data import ray_data

        yield ray_data


EXECUTORS: Final[Mapping[str, Executor]] = MappingProxyType({"in-process": _here, "ray-data": _on_ray})
"""Name -> who does the pieces."""


def get_executor(name: str) -> Executor:
    """Return an executor by name; raises ConfigError with the known ones."""
    return named_executor(EXECUTORS, name)
