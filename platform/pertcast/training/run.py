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
    CheckpointStore,
    TrainingState,
    seal_share,
)
from pertcast.training.config import TrainConfig
from pertcast.training.data import TrainingData
from pertcast.training.distributed import rank, world_size
from pertcast.training.early_stopping import EarlyStopping
from pertcast.training.engines.base import Engine
from pertcast.training.interrupts import InterruptGuard
from pertcast.training.reports import Position, StageResult, TrainReport

_FREE_TO_CHANGE = ("checkpoint_every_steps", "keep_checkpoints", "log_every_steps", "patience", "prefetch")
"""Settings that may differ when a run is resumed: they do not change what is computed up to then."""


@dataclass
class TrainingRun:
    """What the stages of one training share.

    Attributes
    ----------
    model, data, config, device, store
        As given to `fit`.
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
    rows, step_seconds, wait_seconds
        Rows trained on by this attempt, time in steps and the waiting part of it.
    earlier_seconds, began
        Wall time of earlier attempts, and when this one began.
    """

    model: ResponseModel
    data: TrainingData
    config: TrainConfig
    device: torch.device
    store: CheckpointStore
    stages: tuple[Stage, ...]
    emit: Callable[[TrainReport], None]
    interrupts: InterruptGuard
    data_of: list[TrainingData] = field(default_factory=list)
    units: list[int] = field(default_factory=list)
    global_step: int = 0
    results: list[StageResult] = field(default_factory=list)
    rows: int = 0
    step_seconds: float = 0.0
    wait_seconds: float = 0.0
    earlier_seconds: float = 0.0
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
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
            "workers": world_size(),
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
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Hand a checkpoint to the store; called on every rank."""
        state = TrainingState(
            position, self.fingerprint(), tuple(self.results), stopping or EarlyStopping(), self.seconds
        )

        def write(folder: Path) -> None:
            if engine is not None:
                engine.save(folder)
            if rank() == 0:
                torch.save(self.model.state_dict(), folder / MODEL_FILE)
                if best is not None:
                    torch.save(dict(best), folder / BEST_FILE)
                state.save(folder)
            seal_share(folder)

        if engine is not None:
            engine.export()
        self.store.save(position, metrics or {}, write)

    def restore(self, folder: Path) -> TrainingState:
        """Take up a verified checkpoint: the model's tensors and what is done.

        Raises
        ------
        ConfigError
            When the checkpoint is of another training.
        """
        state = TrainingState.load(folder)
        _require_equal(folder, dict(state.fingerprint), self.fingerprint())
        weights = torch.load(folder / MODEL_FILE, map_location=self.device, weights_only=True)
        self.model.load_state_dict(weights)
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
