"""How long a step takes, the same way in every benchmark."""

from __future__ import annotations

import time
from collections.abc import Callable

ROUNDS = 3


def cpu_seconds(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the least CPU seconds of this process over some rounds: a busy machine hardly changes them."""
    return _least(work, rounds, time.process_time)


def wall_seconds(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the least wall seconds over some rounds: writing waits for the disk, not for the processor."""
    return _least(work, rounds, time.perf_counter)


def _least(work: Callable[[], object], rounds: int, clock: Callable[[], float]) -> float:
    found = []
    for _ in range(rounds):
        started = clock()
        work()
        found.append(clock() - started)
    return min(found)
