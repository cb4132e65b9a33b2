"""A run's curves: `metrics.jsonl`, one line a report, and the same for TensorBoard."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from pertcast.training.board import Board
from pertcast.training.patient_file import LineFile
from pertcast.training.reports import TrainReport

METRICS_FILE = "metrics.jsonl"


class RunLog:
    """Writes reports of kind "steps" and "validation" into a run folder, or keeps them while it is away.

    Parameters
    ----------
    run_dir
        The run folder.
    resumed_step
        Optimiser steps already taken; lines of later steps, which will be taken again, are dropped.
    """

    def __init__(self, run_dir: Path, resumed_step: int = 0) -> None:
        path = run_dir / METRICS_FILE
        _drop_later_lines(path, resumed_step)
        self._file = LineFile(path)
        self._board = Board(run_dir / "tensorboard", resumed_step)

    def write(self, report: TrainReport) -> None:
        """Write one report."""
        if report.kind == "statistics":
            return
        line: dict[str, Any] = {
            "kind": report.kind,
            "stage": report.stage,
            "epoch": report.epoch,
            "step": report.global_step,
            "losses": dict(report.losses),
            "validation": None if report.validation is None else dict(report.validation),
            "learning_rate": report.learning_rate,
            **report.speed.to_json(),
            "time": round(time.time(), 3),
        }
        self._file.add_line(json.dumps(line))
        self._board.add_scalars(report.scalars(), report.global_step)


def _drop_later_lines(path: Path, last_step: int) -> None:
    """Cut the file before the first line of a later step, or that a kill cut short; a full disk allows it."""
    if not path.exists():
        return
    kept = 0
    with path.open("r+b") as file:
        for line in file:
            if not _is_earlier(line, last_step):
                break
            kept += len(line)
        file.truncate(kept)


def _is_earlier(line: bytes, last_step: int) -> bool:
    try:
        return line.endswith(b"\n") and bool(json.loads(line)["step"] <= last_step)
    except (ValueError, KeyError, TypeError):
        return False
