"""Workers tell who and how far they are through files; the driver follows them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch
from pertcast.models.contract import GradientStage, OptimiserConfig
from pertcast.training.reports import TrainReport
from pertcast_jobs.train.worker_notes import (
    NoteWriter,
    epoch_offsets,
    followed,
    note_path,
    progress_note,
    read_note,
    validation_metrics,
)


def report(**changes: object) -> TrainReport:
    facts = {
        "kind": "steps",
        "stage": "response",
        "epoch": 1,
        "n_epochs": 5,
        "step": 30,
        "total_steps": 100,
        "global_step": 30,
        "losses": {"loss": 0.5},
    }
    return TrainReport(**{**facts, **changes})  # type: ignore[arg-type]


def test_a_worker_is_found_by_its_process_id(tmp_path: Path) -> None:
    NoteWriter(tmp_path, rank=1)
    note = read_note(tmp_path, 1)
    assert note is not None
    assert (note.rank, note.pid, note.attempt) == (1, os.getpid(), 1)


def test_a_restart_counts_and_keeps_the_progress_shown(tmp_path: Path) -> None:
    NoteWriter(tmp_path, rank=0)(report())
    NoteWriter(tmp_path, rank=0)
    note = read_note(tmp_path, 0)
    assert note is not None
    assert (note.attempt, note.step, note.total_steps) == (2, 30, 100)


def test_nothing_or_half_a_note_is_no_note(tmp_path: Path) -> None:
    assert read_note(tmp_path, 0) is None
    note_path(tmp_path, 0).write_text('{"rank": 0, "ho')
    assert read_note(tmp_path, 0) is None


def test_the_driver_is_told_of_rank_zeros_steps(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    with followed(tmp_path, lambda done, total, note="": told.append((done, total, note))):
        writer = NoteWriter(tmp_path, rank=0)
        NoteWriter(tmp_path, rank=1)(report(step=99))
        writer(report(step=10))
        deadline = time.monotonic() + 10
        while not told and time.monotonic() < deadline:
            time.sleep(0.02)
        assert told
        writer(report(step=20))
    assert told[-1][:2] == (20, 100)
    assert all(done != 99 for done, _, _ in told)


def test_a_note_says_stage_epoch_and_losses() -> None:
    said = progress_note(report(validation={"loss": 0.25}))
    assert said == "response, epoch 2/5, loss 0.5, validation 0.25"


def test_epochs_are_counted_over_all_stages() -> None:
    module = torch.nn.Linear(1, 1)
    stages = [GradientStage(name, module, OptimiserConfig(), epochs) for name, epochs in (("a", 3), ("b", 5))]
    assert epoch_offsets(stages, None) == {"a": 0, "b": 3}
    assert epoch_offsets(stages, 2) == {"a": 0, "b": 2}
    metrics = validation_metrics(
        report(kind="validation", stage="b", epoch=0, validation={"loss": 0.5}), {"a": 0, "b": 3}
    )
    assert metrics == {"stage": "b", "epoch": 4, "global_step": 30, "validation_loss": 0.5}
