"""How an executor is found by its name: screens and ingests have tables of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pertcast_data.errors import ConfigError, nearest_known

Executor = TypeVar("Executor")


def named_executor(executors: Mapping[str, Executor], name: str) -> Executor:
    """Return an executor by name; raises ConfigError with the known ones."""
    if name not in executors:
        nearest = nearest_known(name, executors)
        hint = f" Did you mean {nearest[0]}?" if nearest else ""
        raise ConfigError(f"Unknown executor {name!r}; known: {', '.join(executors)}.{hint}")
    return executors[name]
