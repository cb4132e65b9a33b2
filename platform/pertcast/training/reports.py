"""What a training tells while it runs and when it is done: position, reports, results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pertcast.training.speed import NO_SPEED, Speed


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where a training stands: the next thing it will do.

    Attributes
    ----------
    stage
        Index of the stage; the number of stages when all are done.
    epoch, step
        Epoch of the stage and optimiser step of that epoch, from 0.
    global_step
        Optimiser steps taken so far over all stages.
    """

    stage: int = 0
    epoch: int = 0
    step: int = 0
    global_step: int = 0


@dataclass(frozen=True, slots=True)
class TrainReport:
    """News of a running training.

    Reports of kind "steps" and "validation" are made on every rank at the same steps with the same losses;
    "statistics" only tells of progress, and ranks may differ in how many they make.

    Attributes
    ----------
    kind
        "steps": losses over the steps since the last report; "validation": held-out losses as well;
        "statistics": rows of a closed-form stage were read.
    stage
        Name of the stage.
    epoch, n_epochs
        Epoch (from 0) and epochs of this stage at most.
    step, total_steps
        Steps done and planned over all stages (optimiser steps; batches in closed-form stages). The total
        shrinks when a stage stops early.
    global_step
        Optimiser steps taken so far over all stages.
    losses
        Mean of each loss term over the steps since the last report, and over ranks.
    validation
        Held-out losses of the averaged weights, or None.
    learning_rate
        Rate of the last step; 0 in closed-form stages.
    speed
        Of the steps since the last report; of kind "statistics" only the rows a second are told.
    """

    kind: Literal["steps", "validation", "statistics"]
    stage: str
    epoch: int
    n_epochs: int
    step: int
    total_steps: int
    global_step: int
    losses: Mapping[str, float] = field(default_factory=dict)
    validation: Mapping[str, float] | None = None
    learning_rate: float = 0.0
    speed: Speed = NO_SPEED

    def scalars(self) -> dict[str, float]:
        """Return every figure by a flat name, for curves; those of a stage begin with its name."""
        figures = {f"{self.stage}/train/{name}": value for name, value in self.losses.items()}
        figures |= {
            f"{self.stage}/validation/{name}": value for name, value in (self.validation or {}).items()
        }
        return figures | {f"{self.stage}/learning_rate": self.learning_rate} | self.speed.scalars()


ReportCallback = Callable[[TrainReport], None]


def ignore_report(report: TrainReport) -> None:
    """Take no notice: the default of `fit`."""


def told_to(*callbacks: ReportCallback) -> ReportCallback:
    """Return what tells several of a report, one after another."""

    def tell(report: TrainReport) -> None:
        for callback in callbacks:
            callback(report)

    return tell


@dataclass(frozen=True, slots=True)
class StageResult:
    """How one stage ended.

    Attributes
    ----------
    name
        Name of the stage.
    epochs, steps
        Epochs begun and optimiser steps taken; 0 for a closed-form stage.
    stopped_early
        Whether validation ended the stage before its last epoch.
    best_epoch
        Epoch whose weights were kept; None without validation.
    validation
        Held-out losses of the kept weights, or None.
    facts
        What a closed-form stage found out, by name.
    """

    name: str
    epochs: int = 0
    steps: int = 0
    stopped_early: bool = False
    best_epoch: int | None = None
    validation: Mapping[str, float] | None = None
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FitResult:
    """Outcome of a training.

    Attributes
    ----------
    stages
        One result a stage, in order.
    global_step
        Optimiser steps over all stages, those before a resume included.
    seconds
        Wall time over all attempts that the kept checkpoints cover.
    speed
        Of this attempt's optimiser steps.
    resumed_from
        Position of the checkpoint this attempt started from, or None.
    """

    stages: tuple[StageResult, ...]
    global_step: int
    seconds: float
    speed: Speed
    resumed_from: Position | None = None

    @property
    def validation(self) -> Mapping[str, float]:
        """Held-out losses of the last stage that has any; empty without validation."""
        return next((dict(s.validation) for s in reversed(self.stages) if s.validation), {})

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain JSON."""
        return {
            "global_step": self.global_step,
            "seconds": self.seconds,
            "speed": self.speed.to_json(),
            "stages": [stage_to_json(stage) for stage in self.stages],
        }


def stage_to_json(stage: StageResult) -> dict[str, Any]:
    """Return one stage's result as plain JSON."""
    return {
        "name": stage.name,
        "epochs": stage.epochs,
        "steps": stage.steps,
        "stopped_early": stage.stopped_early,
        "best_epoch": stage.best_epoch,
        "validation": None if stage.validation is None else dict(stage.validation),
        "facts": dict(stage.facts),
    }
