"""Runs that are evaluated beside each other on Ray write the same bytes as one after another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pertcast_data.errors import ConfigError
from pertcast_jobs.evaluate import evaluate_runs
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train.many import train_many
from small_screen import make_screen

pytestmark = [pytest.mark.acceptance, pytest.mark.ray]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("parallel")
    words = [*make_screen(folder).overrides, "train.epochs=2"]
    train_many(load_config("response_mlp", words), folder / "many", (0, 1), (0,))
    return [folder / "many" / f"fold{fold}-seed0" for fold in (0, 1)]


def test_evaluations_beside_each_other_write_the_same_bytes(runs: list[Path], ray_cluster: Any) -> None:
    alone = evaluate_runs(runs, n_draws=100)
    written = [(each.folder / "trust.json").read_bytes() for each in alone]
    together = evaluate_runs(runs, n_draws=100, parallel=2)
    assert [each.name for each in together] == [each.name for each in alone]
    assert [(each.folder / "trust.json").read_bytes() for each in together] == written


def test_a_run_that_cannot_be_evaluated_says_why(runs: list[Path], tmp_path: Path, ray_cluster: Any) -> None:
    with pytest.raises(ConfigError, match="Name a run's folder"):
        evaluate_runs([runs[0], tmp_path], n_draws=100, parallel=2)
