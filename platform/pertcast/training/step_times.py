"""How long steps take: marks that never wait for the device, and quantiles over any number of steps."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import torch

_ACCURACY = 0.005
"""Largest relative error of a quantile."""
_SHORTEST_S, _LONGEST_S = 1e-7, 1e6


class StepClock:
    """Times the steps of a window without waiting for the device between them.

    On a GPU the host runs ahead, so its clock says little of a single step: events are put into the stream
    instead, and read when the window closes.

    Parameters
    ----------
    device
        Where the steps are taken.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._marks: list[float] = []
        self._events: list[torch.cuda.Event] = []

    def mark(self) -> None:
        """Note a moment: the beginning of the first step, then the end of each."""
        if self._device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record(torch.cuda.current_stream(self._device))
            self._events.append(event)
        else:
            self._marks.append(time.perf_counter())

    def seconds(self) -> list[float]:
        """Return the seconds between neighbouring marks; waits for the device."""
        if self._events:
            self._events[-1].synchronize()
            pairs = zip(self._events, self._events[1:], strict=False)
            return [before.elapsed_time(after) / 1e3 for before, after in pairs]
        return [after - before for before, after in zip(self._marks, self._marks[1:], strict=False)]


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Seconds of an optimiser step, waiting for rows included; all 0 where there was no step.

    Attributes
    ----------
    p50, p95, p99
        The shortest time that at least this share of the steps did not exceed, within 0.5 %.
    max
        The longest step.
    """

    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    max: float = 0.0


class StepTimeSketch:
    """Quantiles of step times in bounded memory, within 0.5 % of the exact value.

    Times are counted in buckets whose bounds grow by a constant factor, as in DDSketch (Masson, Rim & Lee,
    "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees", VLDB 2019): about
    3,000 buckets cover 0.1 microseconds to 11 days.
    """

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self._count = 0
        self._longest = 0.0
        self._log_factor = math.log((1 + _ACCURACY) / (1 - _ACCURACY))

    def add(self, seconds: Iterable[float]) -> None:
        """Count steps."""
        for each in seconds:
            within = min(max(each, _SHORTEST_S), _LONGEST_S)
            self._buckets[math.ceil(math.log(within) / self._log_factor)] += 1
            self._count += 1
            self._longest = max(self._longest, each)

    def quantile(self, share: float) -> float:
        """Return the shortest time that at least `share` of the steps did not exceed; 0 without steps."""
        wanted, seen = share * self._count, 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                # The middle of a bucket, in the sense that both its bounds are equally far in relation.
                middle = 2 * math.exp(bucket * self._log_factor) / (1 + math.exp(self._log_factor))
                return min(middle, self._longest)
        return 0.0

    def times(self) -> StepTimes:
        """Return the summary."""
        return StepTimes(self.quantile(0.5), self.quantile(0.95), self.quantile(0.99), self._longest)
