"""A sweep whose driver is killed and that is continued is the sweep that nobody disturbed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import ray_faults as faults
import torch
from pertcast.training.bundle import load_bundle_files
from pertcast_jobs.tune.records import Records, TrialRecord
from thorough import only_thorough
from waiting import wait_for

pytestmark = [pytest.mark.acceptance, pytest.mark.ray]

QUICK = ["model.config.depth=1", "train.batch_size=32", "train.epochs=12", "train.patience=null"]
N_TRIALS = 8
NOT_COMPARED = {"seconds"}
"""Everything else that a trial reports must be equal."""


def command(screen: list[str], search: list[str], out: Path) -> Any:
    words = [*screen, *QUICK, *search, "train.checkpoint_every_steps=10", "--trials", str(N_TRIALS)]
    return faults.pertcast("tune", "response_mlp_sweep", *words, "--out", str(out))


def found_by(out: Path) -> list[tuple[Any, ...]]:
    """Return what each trial tried, how it ended and what it reported, by number."""
    records: tuple[TrialRecord, ...] = Records(out).read_all(N_TRIALS)
    return [
        (
            record.number,
            dict(record.values),
            record.status,
            {name: value for name, value in record.metrics.items() if name not in NOT_COMPARED},
        )
        for record in records
    ]


@pytest.mark.parametrize(
    "search",
    [
        pytest.param(["search.algorithm=random"], id="random, as many at a time as there are CPUs"),
        pytest.param(
            ["search.algorithm=optuna", "search.max_concurrent=1"],
            id="optuna with two objectives, one at a time",
            marks=only_thorough,
        ),
    ],
)
def test_a_sweep_whose_driver_is_killed_continues_to_the_same_trials_and_the_same_best(
    screen: list[str], search: list[str], tmp_path: Path
) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    subprocess.run(command(screen, search, undisturbed), check=True, timeout=500)

    driver = subprocess.Popen(command(screen, search, killed), start_new_session=True)

    def is_in_the_middle() -> bool:
        """Whether two trials have ended and a later one has a checkpoint and no bundle."""
        ended = {path.parent.name for path in (killed / "trials").glob("*/score.json")}
        trained = {path.parents[1].name for path in (killed / "trials").glob("*/checkpoints/stage-*")}
        return len(ended) >= 2 and bool(trained - ended)

    try:
        assert wait_for(is_in_the_middle, 300)
    finally:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
    assert not (killed / "sweep.json").exists()
    scores = {path: path.stat().st_mtime_ns for path in (killed / "trials").glob("*/score.json")}
    assert len(scores) < N_TRIALS
    subprocess.run([*command(screen, search, killed), "--resume"], check=True, timeout=500)

    assert all(path.stat().st_mtime_ns == before for path, before in scores.items())
    assert found_by(killed) == found_by(undisturbed)
    assert {status for _, _, status, _ in found_by(killed)} == {"done"}
    tables = [json.loads((out / "sweep.json").read_text()) for out in (undisturbed, killed)]
    assert tables[0]["best"] == tables[1]["best"]
    assert tables[0]["front"] == tables[1]["front"]
    weights = [load_bundle_files(out / "bundle").weights for out in (undisturbed, killed)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
