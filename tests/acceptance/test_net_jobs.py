"""The command line outside the cluster: jobs are submitted, followed and stopped over a network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import net_cluster as net
import pytest
import ray_faults as faults
from pertcast_jobs.run_folder import RunFolder
from waiting import wait_for

pytestmark = net.MARKS


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with net.net_cluster(tmp_path_factory.mktemp("net"), 1) as made:
        yield made


def test_a_job_that_ends_well_is_followed_listed_and_told_again(cluster: Any, screen: list[str]) -> None:
    store = screen[0].removeprefix("data.store=")
    done = cluster.job("submit", "--no-ship", "--wait", "--", "data", "inspect", store)
    assert done.returncode == 0, done.stderr
    identifier, said = done.stdout.split("\n", 1)
    assert "A375" in said or "wells" in said, said
    assert cluster.job("status", identifier).stdout.strip() == "SUCCEEDED"
    told = cluster.job("logs", "-f", identifier)
    assert (told.returncode, told.stdout) == (0, said)
    listed = json.loads(cluster.job("list", "--json").stdout)
    assert identifier in [job["submission_id"] for job in listed]


def test_a_failed_job_ends_the_command_with_its_own_exit_code_and_words(cluster: Any, tmp_path: Path) -> None:
    failed = cluster.job("submit", "--no-ship", "--wait", "--", "data", "inspect", str(tmp_path / "nothing"))
    assert failed.returncode == 1
    assert "nothing" in failed.stdout + failed.stderr
    assert "Traceback" not in failed.stdout + failed.stderr


def test_a_stopped_training_leaves_a_checkpoint_and_ends_the_command_with_a_failure(
    cluster: Any, screen: list[str], tmp_path: Path
) -> None:
    words = [*screen, *faults.SIZE, *faults.CHECKPOINTS, "train.epochs=2000"]
    run = faults.Training(words, RunFolder(tmp_path / "run"))
    submitted = cluster.job(
        "submit", "--no-ship", "--", "train", "response_mlp", *words, "--out", str(tmp_path / "run")
    )
    identifier = submitted.stdout.strip()
    assert wait_for(lambda: bool(run.checkpoints()), 240), cluster.job("logs", identifier).stdout
    assert cluster.job("stop", identifier).stdout.strip() == "stopping"
    ended = cluster.job("logs", "-f", identifier)
    assert ended.returncode == 1, ended  # Ray keeps no exit code of a job that it stopped.
    assert cluster.job("status", identifier).stdout.strip() == "STOPPED"
    assert [each.kind for each in run.events("preempted")] == ["preempted"]


def test_a_wrong_token_is_refused_with_the_remedy(cluster: Any) -> None:
    refused = cluster.job("list", RAY_AUTH_TOKEN="0" * 64)
    assert refused.returncode == 1
    assert "RAY_AUTH_TOKEN" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_head_that_is_cut_off_is_named_instead_of_waited_for(cluster: Any) -> None:
    cluster.cut("head")
    try:
        refused = cluster.job("list", seconds=180)
    finally:
        cluster.heal("head")
    assert refused.returncode == 1
    assert net.DASHBOARD in refused.stderr
    assert "Traceback" not in refused.stderr
