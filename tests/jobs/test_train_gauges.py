"""Gauges of training: what they tell of a report, and that nothing is shown outside of Ray."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pertcast.training.reports import TrainReport
from pertcast.training.speed import Speed
from pertcast_jobs.train import gauges
from ray.util import metrics


class Kept:
    """Stands where Ray's gauge stands, and keeps what was set."""

    values: dict[tuple[str, tuple[str, ...]], float] = {}  # noqa: RUF012 (one table for all)

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        assert description
        self._name, self._labels = name, tag_keys

    def set(self, value: float, tags: dict[str, str]) -> None:
        assert set(tags) == set(self._labels)
        self.values[self._name, tuple(tags.values())] = value


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, tuple[str, ...]], float]:
    monkeypatch.setattr(gauges, "is_on_ray", lambda: True)
    monkeypatch.setattr(metrics, "Gauge", Kept)
    monkeypatch.setattr(Kept, "values", {})
    return Kept.values


def report_of(**figures: object) -> TrainReport:
    position = {
        "stage": "response",
        "epoch": 0,
        "n_epochs": 3,
        "step": 20,
        "total_steps": 90,
        "global_step": 20,
    }
    return TrainReport(**{"kind": "steps", **position, **figures})  # type: ignore[arg-type]


def test_a_report_is_shown_under_the_runs_name_and_its_parents(
    shown: dict[tuple[str, tuple[str, ...]], float],
) -> None:
    tell = gauges.gauged(Path("/data/runs/many/fold0-seed1"))
    speed = Speed(samples_per_second=1000.0, data_wait_share=0.25)
    tell(report_of(losses={"loss": 0.5}, validation={"mse": 0.75}, speed=speed))
    run = ("many/fold0-seed1",)
    assert shown["pertcast_train_samples_per_second", run] == 1000.0
    assert shown["pertcast_train_data_wait_share", run] == 0.25
    assert shown["pertcast_train_steps", run] == 20
    assert shown["pertcast_train_steps_planned", run] == 90
    assert shown["pertcast_train_last_report_seconds", run] > 1.7e9
    assert shown["pertcast_train_loss", (*run, "response", "loss")] == 0.5
    assert shown["pertcast_train_validation_loss", (*run, "response", "mse")] == 0.75


def test_figures_that_a_report_does_not_have_are_not_shown_as_zeros(
    shown: dict[tuple[str, tuple[str, ...]], float],
) -> None:
    gauges.gauged(Path("/data/runs/first"))(report_of(kind="statistics"))
    names = {name for name, _ in shown}
    assert names == {
        "pertcast_train_steps",
        "pertcast_train_steps_planned",
        "pertcast_train_last_report_seconds",
    }


def test_other_ranks_show_nothing(shown: dict[tuple[str, tuple[str, ...]], float]) -> None:
    gauges.gauged(Path("/data/runs/first"), rank=1)(report_of(losses={"loss": 0.5}))
    assert not shown


def test_outside_of_ray_nothing_is_shown_and_ray_is_not_imported() -> None:
    program = (
        "import sys; from pathlib import Path; from pertcast_jobs.train.gauges import gauged\n"
        "from pertcast.training.reports import ignore_report\n"
        "assert gauged(Path('run')) is ignore_report\n"
        "assert 'ray.util.metrics' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
