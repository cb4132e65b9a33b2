"""A run's curves: `metrics.jsonl`, one line a report, and the same for TensorBoard."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from pertcast.training.files import replace_lines
from pertcast.training.reports import TrainReport

METRICS_FILE = "metrics.jsonl"


class RunLog:
    """Writes reports of kind "steps" and "validation" into a run folder.

    Parameters
    ----------
    run_dir
        The run folder.
    resumed_step
        Optimiser steps already taken; lines of later steps, which will be taken again, are dropped.
    """

    def __init__(self, run_dir: Path, resumed_step: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        run_dir.mkdir(parents=True, exist_ok=True)
        path = run_dir / METRICS_FILE
        _drop_later_lines(path, resumed_step)
        self._file = path.open("a", encoding="utf-8")
        self._board = SummaryWriter(
            str(run_dir / "tensorboard"), purge_step=resumed_step + 1 if resumed_step else None
        )

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._board.close()

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
            "samples_per_second": round(report.samples_per_second, 3),
            "data_wait_share": round(report.data_wait_share, 6),
            "time": round(time.time(), 3),
        }
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        self._draw(report)

    def _draw(self, report: TrainReport) -> None:
        scalars = {f"{report.stage}/train/{name}": value for name, value in report.losses.items()}
        if report.validation is not None:
            scalars |= {f"{report.stage}/validation/{k}": v for k, v in report.validation.items()}
        scalars |= {
            f"{report.stage}/learning_rate": report.learning_rate,
            "speed/samples_per_second": report.samples_per_second,
            "speed/data_wait_share": report.data_wait_share,
        }
        for name, value in scalars.items():
            self._board.add_scalar(name, value, report.global_step)


def _drop_later_lines(path: Path, last_step: int) -> None:
    """Keep the lines up to `last_step`; a line cut short by a kill is dropped too."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            is_earlier = json.loads(line)["step"] <= last_step
        except (ValueError, KeyError, TypeError):
            continue
        if is_earlier:
            kept.append(line)
    replace_lines(path, kept)
