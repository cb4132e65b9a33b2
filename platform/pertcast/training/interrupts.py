"""Requests to stop: SIGINT, SIGTERM or a launcher's. The step is finished and a checkpoint written."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Literal

from pertcast_data.errors import Preempted

from pertcast.training.distributed import from_rank_zero, gather_objects, world_size

StopReason = Literal["interrupt", "preemption"]
"""The user's Ctrl-C (SIGINT), or a machine that is about to be taken away (SIGTERM)."""


def stop_error(reason: StopReason, text: str) -> KeyboardInterrupt:
    """Return what ends a training that was asked to stop."""
    return Preempted(text) if reason == "preemption" else KeyboardInterrupt(text)


class InterruptGuard:
    """Turns SIGINT and SIGTERM inside the block into a request to stop; a second SIGINT interrupts at once.

    SIGTERM may come again (batch systems send it to a script and to its children): that changes nothing.
    Outside the main thread signals cannot be handled; there, `request` is called by whoever is told.
    """

    def __init__(self) -> None:
        self.reason: StopReason | None = None
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether somebody asked to stop."""
        return self.reason is not None

    def request(self, reason: StopReason = "preemption") -> None:
        """Ask to stop after the running step; from any thread, and the first reason counts."""
        if self.reason is None:
            self.reason = reason

    def __enter__(self) -> InterruptGuard:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                previous = signal.getsignal(number)
                if previous is not None:
                    self._previous[number] = previous
                    signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in tuple(self._previous):
            self._restore(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.request("interrupt" if number == signal.SIGINT else "preemption")
        if number == signal.SIGINT:
            self._restore(signal.SIGINT)

    def _restore(self, number: signal.Signals) -> None:
        if number in self._previous:
            signal.signal(number, self._previous.pop(number))


class StopVote:
    """Makes all ranks stop after the same step, though only one of them may have been asked.

    Asking each other costs a wait for the device, so it is done about every `every_s` seconds, at steps that
    rank 0's clock chooses.

    Parameters
    ----------
    guard
        This rank's requests.
    every_s
        Seconds between two votes; less than the notice that a preemption gives.
    """

    def __init__(self, guard: InterruptGuard, every_s: float = 2.0) -> None:
        self._guard = guard
        self._every_s = every_s
        self._next_step = 0
        self._last = (0, time.monotonic())

    def outcome(self, global_step: int) -> StopReason | None:
        """Return why to stop now, the same on every rank, or None; called on every rank after each step."""
        if world_size() == 1:
            return self._guard.reason
        if global_step < self._next_step:
            return None
        self._next_step = from_rank_zero(self._choose_next(global_step))
        reasons = [each for each in gather_objects(self._guard.reason) if each is not None]
        return reasons[0] if reasons else None

    def _choose_next(self, global_step: int) -> int:
        (step, moment), now = self._last, time.monotonic()
        self._last = (global_step, now)
        seconds_a_step = (now - moment) / max(1, global_step - step)
        return global_step + max(1, int(self._every_s / max(seconds_a_step, 1e-9)))
