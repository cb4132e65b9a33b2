"""Training any model on any number of workers: its stages in order, resumable at any step.

Everything random is a function of (seed, epoch, rank, step) or of (seed, step, row): a resumed training
computes bit for bit what an undisturbed one computes.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import torch
from pertcast_data.errors import ConfigError

from pertcast.models.contract import GradientStage, ResponseModel, Stage, StatisticsStage
from pertcast.training.attempt import Resumed, resume_run, told
from pertcast.training.checkpoint import CheckpointStore
from pertcast.training.checkpoint_keeper import CheckpointKeeper
from pertcast.training.checkpoint_local import LocalCheckpointStore, NoCheckpoints
from pertcast.training.config import TrainConfig
from pertcast.training.data import TrainingData
from pertcast.training.distributed import copy_from_rank_zero, rank
from pertcast.training.events import EventLog
from pertcast.training.freezing import frozen_stages, stages_to_train
from pertcast.training.gradient import train_stage
from pertcast.training.interrupts import InterruptGuard, stop_error
from pertcast.training.log import RunLog
from pertcast.training.reports import (
    FitResult,
    Position,
    ReportCallback,
    StageResult,
    TrainReport,
    ignore_report,
)
from pertcast.training.run import TrainingRun
from pertcast.training.speed import Speed
from pertcast.training.statistics import collect_sums

log = logging.getLogger(__name__)

CHECKPOINT_FOLDER = "checkpoints"
_STATISTICS_REPORT_S = 0.5


def fit(
    model: ResponseModel,
    data: TrainingData,
    config: TrainConfig,
    run_dir: Path | None = None,
    *,
    resume: Literal["auto", "never"] = "auto",
    report: ReportCallback = ignore_report,
    store: CheckpointStore | None = None,
    interrupts: InterruptGuard | None = None,
    device: torch.device | str | None = None,
) -> FitResult:
    """Train `model` in place, stage after stage.

    Called on every rank where torch.distributed is initialised. SIGINT and SIGTERM let the step finish,
    write a checkpoint and raise KeyboardInterrupt, for SIGTERM its kind `Preempted`.

    Parameters
    ----------
    model
        The model; afterwards it holds the averaged weights (of the best validation, where there is one).
    data
        Rows of this rank, in batches of `config.micro_batch_size(world_size)`.
    config
        Training configuration.
    run_dir
        Where metrics, TensorBoard curves, events and checkpoints go; None: nowhere. It is made, unless the
        caller brings a `store`: then it is there.
    resume
        "auto": continue from the newest good checkpoint, where there is one; "never": begin anew, which
        needs a place without checkpoints.
    report
        Told of progress; see `TrainReport` for which reports come at the same steps on every rank.
    store
        Where checkpoints go; None: below `run_dir`.
    interrupts
        Through which the caller may ask to stop, from any thread; None: signals alone.
    device
        Where to train; None: this rank's GPU where there is one.

    Raises
    ------
    ConfigError
        When there are fewer rows than a batch, a stage wants cells of one condition side by side and `data`
        does not group them, or a checkpoint belongs to another training.
    NonFiniteLoss
        When a loss or gradient is NaN or infinite.
    StorageUnavailable
        When checkpoints could not be read, or none be written, for `config.storage_patience_s`.
    """
    device = torch.device(device) if device is not None else _default_device()
    if store is None:
        store = _store_below(run_dir, config)
    model.to(device).eval()
    copy_from_rank_zero(model)
    stages = stages_to_train(model, config.start_lr_share)
    with ExitStack() as stack:
        gpus = [device.index or 0] if device.type == "cuda" else []
        stack.enter_context(torch.random.fork_rng(devices=gpus))
        guard = stack.enter_context(interrupts or InterruptGuard())
        events = EventLog(run_dir)
        keeper = CheckpointKeeper(store, config.storage_patience_s, events)
        run = TrainingRun(model, data, config, device, keeper, events, stages, report, guard)
        stack.enter_context(told(run))
        resumed = resume_run(run, run_dir, resume)
        if run_dir is not None and rank() == 0 and any(isinstance(s, GradientStage) for s in stages):
            run.emit = _logged(run_dir, run.global_step, report)
        _train_stages(run, resumed)
    return _result(run, resumed)


def _default_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def _logged(run_dir: Path, resumed_step: int, report: ReportCallback) -> ReportCallback:
    run_log = RunLog(run_dir, resumed_step)

    def emit(news: TrainReport) -> None:
        run_log.write(news)
        report(news)

    return emit


def _store_below(run_dir: Path | None, config: TrainConfig) -> CheckpointStore:
    if run_dir is None:
        return NoCheckpoints()
    run_dir.mkdir(parents=True, exist_ok=True)
    return LocalCheckpointStore(run_dir / CHECKPOINT_FOLDER, config.keep_checkpoints)


def _train_stages(run: TrainingRun, resumed: Resumed) -> None:
    for index in range(len(run.results), len(run.stages)):
        stage = run.stages[index]
        within = resumed if resumed is not None and resumed[1].position.stage == index else None
        is_begun = within is not None and within[1].position > Position(index, 0, 0, run.global_step)
        result = _train_one(run, index, stage, within if is_begun else None)
        run.results.append(result)
        run.model.eval()
        run.checkpoint(Position(index + 1, 0, 0, run.global_step))


def _train_one(run: TrainingRun, index: int, stage: Stage, within: Resumed) -> StageResult:
    if stage.name in frozen_stages(run.model, run.stages, run.config.frozen_stages):
        run.units[index] = 0
        return StageResult(stage.name)
    if isinstance(stage, StatisticsStage):
        return _solve_stage(run, index, stage)
    if run.steps_of(index, 0) == 0:
        cells = stage.cells_per_condition
        groups = "" if cells is None else f" with whole groups of {cells} rows of one condition"
        raise ConfigError(
            f"{run.data.train.n_rows} training rows do not fill one batch of {run.config.batch_size}"
            f"{groups}; lower train.batch_size (or train.accumulate)."
        )
    return train_stage(run, index, stage, within)


def _solve_stage(run: TrainingRun, index: int, stage: StatisticsStage) -> StageResult:
    began = told = time.monotonic()
    rows = 0

    def on_batch(done: int, n_rows: int) -> None:
        nonlocal rows, told
        if run.interrupts.reason is not None:
            text = f"stopped in stage {stage.name!r}, which will begin again"
            raise stop_error(run.interrupts.reason, text)
        rows += n_rows
        now = time.monotonic()
        if now - told >= _STATISTICS_REPORT_S or done == run.units[index]:
            told = now
            run.emit(
                TrainReport(
                    kind="statistics",
                    stage=stage.name,
                    epoch=0,
                    n_epochs=1,
                    step=run.units_before(index) + done,
                    total_steps=sum(run.units),
                    global_step=run.global_step,
                    speed=Speed(samples_per_second=rows / max(now - began, 1e-9)),
                )
            )

    sums = collect_sums(stage, run.data.statistics, run.device, on_batch)
    if run.model.start is None:
        stage.finish(sums)
    else:
        stage.refit(sums, run.model.start.known_genes)
    return StageResult(stage.name, facts=stage.facts())


def _result(run: TrainingRun, resumed: Resumed) -> FitResult:
    return FitResult(
        stages=tuple(run.results),
        global_step=run.global_step,
        seconds=run.seconds,
        speed=run.meter.speed(),
        resumed_from=resumed[1].position if resumed is not None else None,
    )
