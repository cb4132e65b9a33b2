"""What Prometheus sees of a training on Ray: gauges of rank 0's reports, which each node's Ray agent exports.

Ray puts `ray_` before the names. Outside of Ray nothing is exported, and Ray is not imported.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pertcast.training.reports import ReportCallback, TrainReport, ignore_report


@dataclass(frozen=True, slots=True)
class TrainGauge:
    """A gauge as Prometheus names it: its name, what it tells and in which unit, and its labels."""

    name: str
    text: str
    labels: tuple[str, ...] = ("run",)


SAMPLES: Final = TrainGauge("pertcast_train_samples_per_second", "Rows a second over all ranks.")
WAITING: Final = TrainGauge(
    "pertcast_train_data_wait_share", "Share of the time in steps spent waiting for rows."
)
UTILISATION: Final = TrainGauge("pertcast_train_flops_utilisation", "Model FLOPs of what all GPUs could do.")
STEPS: Final = TrainGauge("pertcast_train_steps", "Steps done over all stages.")
PLANNED: Final = TrainGauge("pertcast_train_steps_planned", "Steps planned over all stages, at most.")
REPORTED: Final = TrainGauge("pertcast_train_last_report_seconds", "Unix time of the newest report.")
LOSS: Final = TrainGauge(
    "pertcast_train_loss", "Mean of a loss term since the report before.", ("run", "stage", "term")
)
VALIDATION: Final = TrainGauge(
    "pertcast_train_validation_loss", "Held-out loss of the averaged weights.", ("run", "stage", "term")
)
TRAIN_GAUGES: Final = (SAMPLES, WAITING, UTILISATION, STEPS, PLANNED, REPORTED, LOSS, VALIDATION)


def is_on_ray() -> bool:
    """Return whether this process belongs to a Ray that runs; it does not import Ray."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def gauged(run: Path, rank: int = 0) -> ReportCallback:
    """Return what shows a rank's reports to Prometheus; rank 0 of a training on Ray alone shows any.

    Parameters
    ----------
    run
        Folder of the run; the last two parts of its path are the label `run`, which tells the trials of a
        sweep and the folds of many trainings apart.
    rank
        Of this process.
    """
    if rank != 0 or not is_on_ray():
        return ignore_report
    from ray.util.metrics import Gauge

    gauges = {one: Gauge(one.name, description=one.text, tag_keys=one.labels) for one in TRAIN_GAUGES}
    labels = {"run": "/".join(run.absolute().parts[-2:])}

    def report(news: TrainReport) -> None:
        for gauge, value in _figures(news).items():
            gauges[gauge].set(value, labels)
        for gauge, losses in ((LOSS, news.losses), (VALIDATION, news.validation or {})):
            for term, value in losses.items():
                gauges[gauge].set(value, labels | {"stage": news.stage, "term": term})

    return report


def _figures(news: TrainReport) -> dict[TrainGauge, float]:
    """Return the figures of a report that carry no other label than the run."""
    figures = {STEPS: news.step, PLANNED: news.total_steps, REPORTED: time.time()}
    if news.speed.samples_per_second:
        figures |= {SAMPLES: news.speed.samples_per_second, WAITING: news.speed.data_wait_share}
    if news.speed.flops_utilisation is not None:
        figures[UTILISATION] = news.speed.flops_utilisation
    return {gauge: float(value) for gauge, value in figures.items()}
