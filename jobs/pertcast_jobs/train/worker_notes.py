"""Small files by which the workers of a run tell who they are and how far they are.

A file in the run's folder needs no extra process, survives a dead worker, and is where people look.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pertcast.models.contract import GradientStage, Stage
from pertcast.training.reports import TrainReport
from pertcast_data.progress import ProgressCallback
from pydantic import BaseModel, ConfigDict, ValidationError

from pertcast_jobs.progress import told_regularly
from pertcast_jobs.run_folder import now, write_text
from pertcast_jobs.train.speed_lines import speed_note


class WorkerNote(BaseModel):
    """What a worker wrote last.

    Attributes
    ----------
    rank
        The worker's rank.
    host, pid
        Machine and process.
    attempt
        1 for the first worker of this rank, one more after each restart.
    step, total_steps, note
        Progress in optimiser steps and in words.
    updated
        UTC time.
    """

    model_config = ConfigDict(frozen=True)

    rank: int
    host: str
    pid: int
    attempt: int
    step: int = 0
    total_steps: int = 0
    note: str = ""
    updated: str = ""


def note_path(folder: Path, rank: int) -> Path:
    """Return the file of a rank."""
    return folder / f"rank_{rank}.json"


def read_note(folder: Path, rank: int) -> WorkerNote | None:
    """Return what a rank wrote last, or None where it wrote nothing yet."""
    try:
        return WorkerNote.model_validate_json(note_path(folder, rank).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def progress_note(report: TrainReport) -> str:
    """Return a report in a few words, for a progress bar."""
    words = [f"{report.stage}, epoch {report.epoch + 1}/{report.n_epochs}"]
    if "loss" in report.losses:
        words.append(f"loss {report.losses['loss']:.4g}")
    if report.validation and "loss" in report.validation:
        words.append(f"validation {report.validation['loss']:.4g}")
    if report.speed.samples_per_second:
        words.append(speed_note(report.speed))
    return ", ".join(words)


def epoch_offsets(stages: Iterable[Stage], epochs: int | None) -> dict[str, int]:
    """Return how many epochs the stages before each gradient stage take at most.

    Parameters
    ----------
    stages
        The model's stages in order.
    epochs
        Epochs of every stage, or None for what each asks for.
    """
    offsets, total = {}, 0
    for stage in stages:
        if isinstance(stage, GradientStage):
            offsets[stage.name] = total
            total += epochs or stage.epochs
    return offsets


def validation_metrics(report: TrainReport, offsets: Mapping[str, int]) -> dict[str, Any]:
    """Return a validation as flat metrics, with the epoch counted over all stages."""
    losses = {f"validation_{name}": value for name, value in (report.validation or {}).items()}
    epoch = offsets[report.stage] + report.epoch + 1
    return {"stage": report.stage, "epoch": epoch, "global_step": report.global_step, **losses}


class NoteWriter:
    """Keeps a worker's file up to date.

    Parameters
    ----------
    folder
        The run's folder of worker files.
    rank
        This worker's rank.
    """

    def __init__(self, folder: Path, rank: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        before = read_note(folder, rank)
        self._note = WorkerNote(
            rank=rank,
            host=socket.gethostname(),
            pid=os.getpid(),
            attempt=before.attempt + 1 if before else 1,
            step=before.step if before else 0,
            total_steps=before.total_steps if before else 0,
            note="starting" if before is None else "starting again",
        )
        self._write()

    def __call__(self, report: TrainReport) -> None:
        """Write where training stands."""
        self._note = self._note.model_copy(
            update={"step": report.step, "total_steps": report.total_steps, "note": progress_note(report)}
        )
        self._write()

    def _write(self) -> None:
        self._note = self._note.model_copy(update={"updated": now()})
        # Storage that is away for a while does not end a training; the next note will do.
        with suppress(OSError):
            write_text(note_path(self._folder, self._note.rank), self._note.model_dump_json())


@contextmanager
def followed(folder: Path, progress: ProgressCallback) -> Iterator[None]:
    """Pass on rank 0's progress while the block runs."""

    def tell() -> None:
        note = read_note(folder, 0)
        if note is not None:
            restarted = f", attempt {note.attempt}" if note.attempt > 1 else ""
            progress(note.step, note.total_steps, note.note + restarted)

    with told_regularly(tell):
        yield
