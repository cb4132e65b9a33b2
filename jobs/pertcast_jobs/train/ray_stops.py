"""How a stop reaches the ranks of a Ray run: SIGTERM, a node that drains, a resize, the driver's Ctrl-C.

A worker trains in a thread, while Python runs signal handlers on the main thread only, which Ray gives a task
every two seconds. So whoever hears of a stop asks the process's one `InterruptGuard`; `fit` does the rest.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final

import ray
from pertcast.training.interrupts import InterruptGuard
from ray.exceptions import RayError
from ray.experimental.internal_kv import (
    _internal_kv_del,
    _internal_kv_exists,
    _internal_kv_put,
)
from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend
from ray.train.v2._internal.execution.context import get_train_context

log = logging.getLogger(__name__)

WORKER_STOPS: Final = InterruptGuard()
"""What this worker process was asked: one for each process, as signals are."""

_LOOK_EVERY_S = 1.0
_ANSWER_WITHIN_S = 5.0
_CHECKPOINT_WITHIN_S = 120.0
"""How long a healthy group that is about to be resized may take for its checkpoint."""


class StoppableTorch(TorchConfig):
    """Process groups of torch whose workers write a checkpoint before they go."""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        """Return what sets the workers up."""
        return _StoppableBackend


class _StoppableBackend(_TorchBackend):  # type: ignore[misc]
    def on_training_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        super().on_training_start(worker_group, backend_config)
        worker_group.execute(listen_to_sigterm)

    def on_shutdown(self, worker_group: Any, backend_config: TorchConfig) -> None:
        _let_healthy_workers_finish(worker_group)
        super().on_shutdown(worker_group, backend_config)


def listen_to_sigterm() -> None:
    """Take SIGTERM for the notice that this process is about to be ended; Ray's own handler exits at once."""

    def note(number: int, frame: FrameType | None) -> None:
        WORKER_STOPS.request("preemption")

    signal.signal(signal.SIGTERM, note)


def _is_training() -> bool:
    return bool(get_train_context().execution_context.training_thread_runner.is_running())


def _ask_to_stop() -> None:
    WORKER_STOPS.request("preemption")


def _let_healthy_workers_finish(worker_group: Any) -> None:
    """Have a checkpoint written where all workers still train: Ray is about to resize their group.

    After a failure, or at the end of training, at least one of them does not train any more.
    """
    with suppress(RayError):
        if not all(ray.get(worker_group.execute_async(_is_training), timeout=_ANSWER_WITHIN_S)):
            return
        ray.get(worker_group.execute_async(_ask_to_stop), timeout=_ANSWER_WITHIN_S)
        deadline = time.monotonic() + _CHECKPOINT_WITHIN_S
        while time.monotonic() < deadline:
            if not any(ray.get(worker_group.execute_async(_is_training), timeout=_ANSWER_WITHIN_S)):
                return
            time.sleep(_LOOK_EVERY_S / 4)


def ask_from_driver(key: str) -> None:
    """Ask all workers of a run to stop for good."""
    _internal_kv_put(key, b"stop")


def forget_stop(key: str) -> None:
    """Remove what `ask_from_driver` left in Ray."""
    with suppress(RayError):
        _internal_kv_del(key)


@contextmanager
def hears_of_stops(key: str) -> Iterator[InterruptGuard]:
    """Watch, while the block runs, what else may end this worker: the driver, and a node that drains.

    Parameters
    ----------
    key
        What the driver's request is kept under.
    """
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_LOOK_EVERY_S):
            with suppress(RayError):
                if _internal_kv_exists(key):
                    WORKER_STOPS.request("interrupt")
                elif get_train_context().preemption_context.preemption_info is not None:
                    WORKER_STOPS.request("preemption")

    thread = threading.Thread(target=watch, name="stop-watch", daemon=True)
    thread.start()
    try:
        yield WORKER_STOPS
    finally:
        ended.set()
        thread.join()
