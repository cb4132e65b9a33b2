"""One training while it runs: what all its stages share, and how it is checkpointed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pertcast_data.errors import ConfigError
from torch import Tensor

from pertcast.models.contract import GradientStage, ResponseModel, Stage
from pertcast.training.checkpoint import (
    BEST_FILE,
    MODEL_FILE,
    TrainingState,
    seal_share,
)
from pertcast.training.checkpoint_keeper import CheckpointKeeper
from pertcast.training.config import TrainConfig
from pertcast.training.data import TrainingData
from pertcast.training.distributed import rank, world_size
from pertcast.training.early_stopping import EarlyStopping
from pertcast.training.engines.base import Engine
from pertcast.training.events import EventLog
from pertcast.training.files import load_tensors, save_tensors
from pertcast.training.flops import peak_flops
from pertcast.training.interrupts import InterruptGuard, StopReason, stop_error
from pertcast.training.reports import Position, StageResult, TrainReport
from pertcast.training.speed import SpeedMeter

_FREE_TO_CHANGE = (
    "accumulate",
    "activation_checkpointing",
    "checkpoint_every_steps",
    "compile",
    "engine",
    "keep_checkpoints",
    "log_every_steps",
    "patience",
    "peak_tflops",
    "prefetch",
    "storage_patience_s",
)
"""Settings that may differ when a run is resumed, as may the number of workers.

They do not change what is computed, up to rounding: every engine reads the state that any other has written.
"""


@dataclass
class TrainingRun:
    """What the stages of one training share.

    Attributes
    ----------
    model, data, config, device
        As given to `fit`.
    keeper
        Writes and finds checkpoints on all ranks together.
    events
        Told of what happens.
    stages
        The model's stages.
    emit
        Takes a report to the log and to the caller.
    interrupts
        Whether the user asked to stop.
    data_of
        The data of each stage, grouped by condition where it wants that.
    units
        Steps (or batches) of each stage, planned or, once a stage is done, taken.
    global_step
        Optimiser steps so far.
    results
        Stages that are done.
    meter
        Speed of this attempt's steps.
    earlier_seconds, began
        Wall time of earlier attempts, and when this one began.
    """

    model: ResponseModel
    data: TrainingData
    config: TrainConfig
    device: torch.device
    keeper: CheckpointKeeper
    events: EventLog
    stages: tuple[Stage, ...]
    emit: Callable[[TrainReport], None]
    interrupts: InterruptGuard
    data_of: list[TrainingData] = field(default_factory=list)
    units: list[int] = field(default_factory=list)
    global_step: int = 0
    results: list[StageResult] = field(default_factory=list)
    earlier_seconds: float = 0.0
    began: float = field(default_factory=time.monotonic)
    meter: SpeedMeter = field(init=False)

    def __post_init__(self) -> None:
        peak = peak_flops(self.device, self.config.precision, self.config.peak_tflops)
        self.meter = SpeedMeter(None if peak is None else peak * world_size())
        self.data_of = [
            self.data.of_stage(stage) if isinstance(stage, GradientStage) else self.data
            for stage in self.stages
        ]
        self.units = [self._planned_units(index, stage) for index, stage in enumerate(self.stages)]

    @property
    def seconds(self) -> float:
        """Wall time over all attempts."""
        return self.earlier_seconds + time.monotonic() - self.began

    def epochs_of(self, stage: GradientStage) -> int:
        """Return how many epochs a stage may take."""
        return self.config.epochs or stage.epochs

    def steps_of(self, stage_index: int, epoch: int) -> int:
        """Return the optimiser steps of a gradient stage's epoch: whole groups of micro-batches."""
        return self.data_of[stage_index].train.steps(epoch) // self.config.accumulate

    def _planned_units(self, index: int, stage: Stage) -> int:
        if not isinstance(stage, GradientStage):
            return self.data.statistics.steps(0)
        return sum(self.steps_of(index, epoch) for epoch in range(self.epochs_of(stage)))

    def units_before(self, stage_index: int) -> int:
        """Return the steps of all stages before one."""
        return sum(self.units[:stage_index])

    def fingerprint(self) -> dict[str, Any]:
        """Return what must stay the same for a resume to continue the same training."""
        config = self.config.model_dump(mode="json", exclude=set(_FREE_TO_CHANGE))
        grouped = {
            f"cells per condition of {stage.name}": stage.cells_per_condition
            for stage in self.stages
            if isinstance(stage, GradientStage) and stage.cells_per_condition is not None
        }
        content = {
            **{f"train.{name}": value for name, value in config.items()},
            "model": type(self.model).__name__,
            "model.config": self.model.config.model_dump(mode="json"),
            "stages": [stage.name for stage in self.stages],
            "training rows": self.data.train.n_rows,
            **grouped,
        }
        plain: dict[str, Any] = json.loads(json.dumps(content))
        return plain

    def checkpoint(
        self,
        position: Position,
        *,
        engine: Engine | None = None,
        stopping: EarlyStopping | None = None,
        best: Mapping[str, Tensor] | None = None,
        stopping_because: StopReason | None = None,
    ) -> None:
        """Write a checkpoint; called on every rank.

        Where the storage does not take it, training goes on without, for `train.storage_patience_s`.

        Raises
        ------
        KeyboardInterrupt
            With `stopping_because`, once it is written or was tried for a while; `Preempted` for
            "preemption".
        StorageUnavailable
            When none could be written for longer than the patience.
        """
        state = TrainingState(
            position=position,
            fingerprint=self.fingerprint(),
            results=tuple(self.results),
            stopping=stopping or EarlyStopping(),
            seconds=self.seconds,
            ranks=world_size(),
        )

        def write(folder: Path) -> None:
            if engine is not None:
                engine.save(folder)
            if rank() == 0:
                save_tensors(folder / MODEL_FILE, self.model.state_dict())
                if best is not None:
                    save_tensors(folder / BEST_FILE, best)
                state.save(folder)
            seal_share(folder)

        if engine is not None:
            engine.export()
        if stopping_because is None:
            self.keeper.save(position, write)
            return
        reason = self.keeper.save_at_last(position, write)
        outcome = (
            "the checkpoint is written" if reason is None else f"no checkpoint could be written: {reason}"
        )
        raise stop_error(stopping_because, f"stopped at step {position.global_step}; {outcome}")

    def restore(self, folder: Path) -> TrainingState:
        """Take up a verified checkpoint: the model's tensors and what is done.

        Raises
        ------
        ConfigError
            When the checkpoint is of another training.
        """
        state = TrainingState.load(folder)
        _require_equal(folder, dict(state.fingerprint), self.fingerprint())
        self.model.load_state_dict(load_tensors(folder / MODEL_FILE, self.device))
        self.results = list(state.results)
        self.global_step = state.position.global_step
        self.earlier_seconds = state.seconds
        for index, result in enumerate(self.results):
            if isinstance(self.stages[index], GradientStage):
                self.units[index] = result.steps
        return state


def _require_equal(folder: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    changed = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]
    if changed:
        differences = "; ".join(f"{name} was {then.get(name)}, is {now.get(name)}" for name in changed)
        raise ConfigError(
            f"{folder} belongs to another training: {differences}. Resume with the settings it began with, "
            "or train into another run folder."
        )
