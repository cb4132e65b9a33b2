"""Stages trained by gradient descent: epochs, steps, validation, early stopping, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from pertcast.models.batch import Batch
from pertcast.models.contract import GradientStage
from pertcast.models.noise import KeyedNoise
from pertcast.training.checkpoint import BEST_FILE, TrainingState
from pertcast.training.distributed import rank
from pertcast.training.early_stopping import EarlyStopping
from pertcast.training.engines import build_engine
from pertcast.training.files import load_tensors
from pertcast.training.flops import flops_of_row
from pertcast.training.interrupts import StopVote
from pertcast.training.prefetch import Prefetcher
from pertcast.training.reports import Position, StageResult, TrainReport
from pertcast.training.run import TrainingRun
from pertcast.training.speed import Speed, window_speed
from pertcast.training.validation import validate
from pertcast.training.window import NonFiniteLoss, StepWindow, WindowSummary


def train_stage(
    run: TrainingRun, index: int, stage: GradientStage, resumed: tuple[Path, TrainingState] | None = None
) -> StageResult:
    """Train one stage and leave its best weights in its module.

    Parameters
    ----------
    run
        What the stages share.
    index
        Index of the stage.
    stage
        The stage.
    resumed
        Verified checkpoint, and what it says, from within this stage.
    """
    trainer = _StageTrainer(run, index, stage)
    try:
        start = trainer.restore(*resumed) if resumed is not None else Position(index)
        return trainer.train(start)
    finally:
        trainer.engine.close()


def seed_step(seed: int, global_step: int, of_rank: int, device: torch.device) -> None:
    """Make torch's random state (dropout) a function of seed, step and rank, so it need not be saved."""
    mixed = ((seed * 1_000_003 + global_step) * 65_537 + of_rank) % 2**63
    # torch.manual_seed would queue a call (with a traceback) for every kind of accelerator at each step.
    torch.default_generator.manual_seed(mixed)
    if device.type == "cuda":
        torch.cuda.manual_seed(mixed)


class _StageTrainer:
    """State of one running stage."""

    def __init__(self, run: TrainingRun, index: int, stage: GradientStage) -> None:
        self.run = run
        self.index = index
        self.stage = stage
        self.data = run.data_of[index]
        self.n_epochs = run.epochs_of(stage)
        self.engine = build_engine(stage, run.config, run.units[index], run.device)
        self.stopping = EarlyStopping()
        self.best: dict[str, Tensor] | None = None
        self.window = StepWindow(stage.name, run.device)
        self.summary: WindowSummary | None = None
        self.speed = Speed()
        self.flops_of_row: float | None = None
        self.flops_are_counted = False
        self.a_batch: Batch | None = None
        self.vote = StopVote(run.interrupts)
        self.first_global_step = run.global_step

    def restore(self, folder: Path, state: TrainingState) -> Position:
        """Continue where a checkpoint stood."""
        self.engine.load(folder)
        self.stopping = state.stopping
        self.first_global_step = sum(result.steps for result in state.results)
        if (folder / BEST_FILE).exists():
            self.best = load_tensors(folder / BEST_FILE)
        return state.position

    def train(self, start: Position) -> StageResult:
        """Run the epochs from `start` on."""
        start_step, stopped_early, epoch = start.step, False, start.epoch
        for epoch in range(start.epoch, self.n_epochs):
            self._train_epoch(epoch, start_step)
            start_step = 0
            is_last = epoch == self.n_epochs - 1
            if is_last or (epoch + 1) % self.run.config.validate_every_epochs == 0:
                self._validate(epoch)
            stopped_early = not is_last and self.stopping.is_exhausted(self.run.config.patience)
            if is_last or stopped_early:
                break
            self._checkpoint_if_due(Position(self.index, epoch + 1, 0, self.run.global_step))
        self.engine.export()
        if self.best is not None:
            self.stage.module.load_state_dict(self.best)
        steps = self.run.global_step - self.first_global_step
        self.run.units[self.index] = steps
        return StageResult(
            name=self.stage.name,
            epochs=epoch + 1,
            steps=steps,
            stopped_early=stopped_early,
            best_epoch=self.stopping.best_epoch,
            validation=self.stopping.best_losses,
        )

    def _train_epoch(self, epoch: int, start_step: int) -> None:
        config, n_steps = self.run.config, self.run.steps_of(self.index, epoch)
        source = self.data.train.batches(epoch, start_step * config.accumulate)
        with Prefetcher(source, self.run.device, config.prefetch) as batches:
            for step in range(start_step, n_steps):
                self._take_step(batches)
                is_last = step == n_steps - 1
                if is_last or self._is_checkpoint_step() or self._is_log_step():
                    self._close_window(epoch)
                if not is_last:
                    self._checkpoint_if_due(Position(self.index, epoch, step + 1, self.run.global_step))

    def _take_step(self, batches: Prefetcher) -> None:
        self.window.begin_step()
        began = time.perf_counter()
        micro_batches: list[Batch] = [next(batches) for _ in range(self.run.config.accumulate)]
        fetched = time.perf_counter()
        seed_step(self.run.config.seed, self.run.global_step, rank(), self.run.device)
        noise = KeyedNoise(self.run.config.seed, self.run.global_step)
        losses = self.engine.step(micro_batches, noise)
        self.run.global_step += 1
        self.window.add(losses, micro_batches, time.perf_counter() - began, fetched - began)
        if not self.flops_are_counted:
            self.a_batch = micro_batches[0]

    def _is_checkpoint_step(self) -> bool:
        return self.run.global_step % self.run.config.checkpoint_every_steps == 0

    def _is_log_step(self) -> bool:
        return self.run.global_step % self.run.config.log_every_steps == 0

    def _close_window(self, epoch: int) -> None:
        summary = self.window.close(epoch, self.run.global_step)
        self.window = StepWindow(self.stage.name, self.run.device)
        self.summary = summary
        self._count_flops()
        self.run.meter.add(summary, self.flops_of_row)
        self.speed = window_speed(summary, self.flops_of_row, self.run.meter.peak_flops)
        self._emit(epoch, summary)

    def _count_flops(self) -> None:
        """Count once a stage, between two windows, so that no step's time holds the counting."""
        if self.flops_are_counted or self.a_batch is None:
            return
        batch, self.a_batch, self.flops_are_counted = self.a_batch, None, True
        config, noise = self.run.config, KeyedNoise(self.run.config.seed)
        self.flops_of_row = flops_of_row(self.stage.module, batch, noise, config.precision, self.run.device)

    def _emit(
        self, epoch: int, summary: WindowSummary, validation: Mapping[str, float] | None = None
    ) -> None:
        done = self.run.global_step - self.first_global_step
        self.run.emit(
            TrainReport(
                kind="steps" if validation is None else "validation",
                stage=self.stage.name,
                epoch=epoch,
                n_epochs=self.n_epochs,
                step=self.run.units_before(self.index) + done,
                total_steps=sum(self.run.units),
                global_step=self.run.global_step,
                losses=summary.losses,
                validation=validation,
                learning_rate=self.engine.learning_rate,
                speed=self.speed,
            )
        )

    def _validate(self, epoch: int) -> None:
        source, summary = self.data.validation, self.summary
        if source is None or summary is None:
            return
        self.engine.export()
        terms = sorted(summary.losses.keys() - {"grad_norm"})
        losses = validate(self.stage, source, terms, self.run.config.seed, self.run.device)
        for term, value in losses.items():
            if not torch.isfinite(torch.tensor(value)):
                step = self.run.global_step
                raise NonFiniteLoss(self.stage.name, epoch, step, f"validation {term}", value, ())
        if self.stopping.improves(losses):
            state = self.stage.module.state_dict()
            self.best = {name: value.detach().to("cpu", copy=True) for name, value in state.items()}
        self.stopping = self.stopping.after(epoch, losses)
        self._emit(epoch, summary, losses)

    def _checkpoint_if_due(self, position: Position) -> None:
        """Write a checkpoint where one is due; where somebody asked to stop, write one and stop."""
        reason = self.vote.outcome(position.global_step)
        if reason is None and not self._is_checkpoint_step():
            return
        if len(self.window):
            self._close_window(position.epoch)
        self.run.checkpoint(
            position,
            engine=self.engine,
            stopping=self.stopping,
            best=self.best,
            stopping_because=reason,
        )
