"""Training any model on any number of workers: its stages in order, resumable at any step.

Everything random is a function of (seed, epoch, rank, step) or of (seed, step, row): a resumed training
computes bit for bit what an undisturbed one computes.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

import torch
from pertcast_data.errors import ConfigError

from pertcast.models.contract import GradientStage, ResponseModel, Stage, StatisticsStage
from pertcast.training.checkpoint import (
    CheckpointStore,
    LocalCheckpointStore,
    NoCheckpoints,
    TrainingState,
    verify_checkpoint,
)
from pertcast.training.config import TrainConfig
from pertcast.training.data import TrainingData
from pertcast.training.distributed import copy_from_rank_zero, rank
from pertcast.training.gradient import train_stage
from pertcast.training.interrupts import InterruptGuard
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
    device: torch.device | str | None = None,
) -> FitResult:
    """Train `model` in place, stage after stage.

    Called on every rank where torch.distributed is initialised. A SIGINT lets the step finish, writes a
    checkpoint and raises KeyboardInterrupt.

    Parameters
    ----------
    model
        The model; afterwards it holds the averaged weights (of the best validation, where there is one).
    data
        Rows of this rank, in batches of `config.micro_batch_size(world_size)`.
    config
        Training configuration.
    run_dir
        Where metrics, TensorBoard curves and checkpoints go; None: nowhere.
    resume
        "auto": continue from the newest good checkpoint, where there is one; "never": begin anew, which
        needs a place without checkpoints.
    report
        Told of progress; see `TrainReport` for which reports come at the same steps on every rank.
    store
        Where checkpoints go; None: below `run_dir`.
    device
        Where to train; None: this rank's GPU where there is one.

    Raises
    ------
    ConfigError
        When there are fewer rows than a batch, a stage wants cells of one condition side by side and `data`
        does not group them, or a checkpoint belongs to another training.
    NonFiniteLoss
        When a loss or gradient is NaN or infinite.
    CorruptBundle
        When a `store` of the caller's returns a damaged checkpoint.
    """
    device = torch.device(device) if device is not None else _default_device()
    if store is None:
        folder = run_dir / CHECKPOINT_FOLDER if run_dir is not None else None
        store = LocalCheckpointStore(folder, config.keep_checkpoints) if folder else NoCheckpoints()
    model.to(device).eval()
    copy_from_rank_zero(model)
    stages = model.stages()
    with ExitStack() as stack:
        gpus = [device.index or 0] if device.type == "cuda" else []
        stack.enter_context(torch.random.fork_rng(devices=gpus))
        interrupts = stack.enter_context(InterruptGuard())
        run = TrainingRun(model, data, config, device, store, stages, report, interrupts)
        resumed = _resume(run, store, resume)
        if run_dir is not None and rank() == 0 and any(isinstance(s, GradientStage) for s in stages):
            run.emit = stack.enter_context(_logged(run_dir, run.global_step, report))
        _train_stages(run, resumed)
    return _result(run, resumed)


def _default_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


@contextmanager
def _logged(run_dir: Path, resumed_step: int, report: ReportCallback) -> Iterator[ReportCallback]:
    with RunLog(run_dir, resumed_step) as run_log:

        def emit(news: TrainReport) -> None:
            run_log.write(news)
            report(news)

        yield emit


def _resume(
    run: TrainingRun, store: CheckpointStore, resume: Literal["auto", "never"]
) -> tuple[Path, TrainingState] | None:
    folder = store.latest()
    if folder is None:
        return None
    if resume == "never":
        raise ConfigError(f"{folder.parent} holds checkpoints: resume, or train into another run folder.")
    verify_checkpoint(folder)
    state = run.restore(folder)
    log.info("resuming at step %d from %s", state.position.global_step, folder.name)
    return folder, state


def _train_stages(run: TrainingRun, resumed: tuple[Path, TrainingState] | None) -> None:
    for index in range(len(run.results), len(run.stages)):
        stage = run.stages[index]
        within = resumed if resumed is not None and resumed[1].position.stage == index else None
        is_begun = within is not None and within[1].position > Position(index, 0, 0, run.global_step)
        result = _train_one(run, index, stage, within if is_begun else None)
        run.results.append(result)
        run.model.eval()
        metrics = {f"validation_{term}": value for term, value in (result.validation or {}).items()}
        run.checkpoint(Position(index + 1, 0, 0, run.global_step), metrics=metrics)


def _train_one(
    run: TrainingRun, index: int, stage: Stage, within: tuple[Path, TrainingState] | None
) -> StageResult:
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
        if run.interrupts.requested:
            raise KeyboardInterrupt(f"stopped in stage {stage.name!r}, which will begin again")
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
                    samples_per_second=rows / max(now - began, 1e-9),
                )
            )

    stage.finish(collect_sums(stage, run.data.statistics, run.device, on_batch))
    return StageResult(stage.name, facts=stage.facts())


def _result(run: TrainingRun, resumed: tuple[Path, TrainingState] | None) -> FitResult:
    return FitResult(
        stages=tuple(run.results),
        global_step=run.global_step,
        seconds=run.seconds,
        samples_per_second=run.rows / run.step_seconds if run.step_seconds else 0.0,
        data_wait_share=run.wait_seconds / run.step_seconds if run.step_seconds else 0.0,
        resumed_from=resumed[1].position if resumed is not None else None,
    )
