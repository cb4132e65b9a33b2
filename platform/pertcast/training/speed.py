"""How fast a training runs and what it holds: of a window between two reports, and of the whole attempt."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from pertcast.training.memory import PeakMemory
from pertcast.training.step_times import StepTimes, StepTimeSketch
from pertcast.training.window import WindowSummary


@dataclass(frozen=True, slots=True)
class Speed:
    """Speed over some optimiser steps, validation and checkpoints left out; zeros where there were none.

    Attributes
    ----------
    samples_per_second
        Rows a second over all ranks.
    data_wait_share
        Share of the time that was spent waiting for rows.
    step_times
        Seconds of a step (mean over ranks) in quantiles.
    memory
        Peaks since the processes began.
    flops_per_second
        Operations that the model needed a second, over all ranks (`pertcast.training.flops`); None where
        they could not be counted.
    flops_utilisation
        That as a share of what all GPUs could do; None on CPUs and on GPUs of unknown peak.
    """

    samples_per_second: float = 0.0
    data_wait_share: float = 0.0
    step_times: StepTimes = field(default_factory=StepTimes)
    memory: PeakMemory = field(default_factory=PeakMemory)
    flops_per_second: float | None = None
    flops_utilisation: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain JSON."""
        return {
            "samples_per_second": round(self.samples_per_second, 3),
            "data_wait_share": round(self.data_wait_share, 6),
            "step_seconds": {name: round(value, 7) for name, value in asdict(self.step_times).items()},
            "memory": asdict(self.memory),
            "flops_per_second": self.flops_per_second,
            "flops_utilisation": self.flops_utilisation,
        }

    def scalars(self) -> dict[str, float]:
        """Return every figure that there is by a flat name, for curves."""
        figures: dict[str, float | None] = {
            "speed/samples_per_second": self.samples_per_second,
            "speed/data_wait_share": self.data_wait_share,
            **{f"speed/step_seconds_{name}": value for name, value in asdict(self.step_times).items()},
            "speed/flops_per_second": self.flops_per_second,
            "speed/flops_utilisation": self.flops_utilisation,
            **{f"memory/{name}": value for name, value in asdict(self.memory).items()},
        }
        return {name: float(value) for name, value in figures.items() if value is not None}


NO_SPEED = Speed()
"""Of no steps."""


class SpeedMeter:
    """Adds up windows of steps.

    Parameters
    ----------
    peak_flops
        Operations a second that the devices of all ranks could do together, or None.
    """

    def __init__(self, peak_flops: float | None = None) -> None:
        self.peak_flops = peak_flops
        self._rows = 0
        self._seconds = self._wait_seconds = 0.0
        self._flops: float | None = 0.0
        self._times = StepTimeSketch()
        self._memory = PeakMemory()

    def add(self, window: WindowSummary, flops_of_row: float | None) -> None:
        """Take in a closed window; `flops_of_row` as `pertcast.training.flops.flops_of_row` returns."""
        self._rows += window.rows
        self._seconds += window.seconds
        self._wait_seconds += window.wait_seconds
        self._times.add(window.step_seconds)
        self._memory = window.memory
        if self._flops is not None:
            self._flops = None if flops_of_row is None else self._flops + flops_of_row * window.rows

    def speed(self) -> Speed:
        """Return the figures over all windows so far."""
        if not self._seconds:
            return NO_SPEED
        flops = None if self._flops is None else self._flops / self._seconds
        is_known = flops is not None and self.peak_flops is not None
        return Speed(
            samples_per_second=self._rows / self._seconds,
            data_wait_share=self._wait_seconds / self._seconds,
            step_times=self._times.times(),
            memory=self._memory,
            flops_per_second=flops,
            flops_utilisation=flops / self.peak_flops if is_known else None,  # type: ignore[operator]
        )


def window_speed(window: WindowSummary, flops_of_row: float | None, peak_flops: float | None) -> Speed:
    """Return the speed of one window."""
    meter = SpeedMeter(peak_flops)
    meter.add(window, flops_of_row)
    return meter.speed()
