"""Commands become jobs of a Ray cluster: the same words, a stable id, the job's own exit code."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pertcast_data.errors import ConfigError
from pertcast_jobs.cli import run
from pertcast_jobs.submit import JobFailed, Jobs, job_command, job_entrypoint, submission_id_of

pytestmark = pytest.mark.ray


def test_a_config_is_trained_and_a_command_is_run_as_it_stands() -> None:
    assert job_command(["response_mlp", "data.store=S"]) == ["train", "response_mlp", "data.store=S"]
    assert job_command(["evaluate", "RUN"]) == ["evaluate", "RUN"]


def test_an_empty_command_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match="CONFIG"):
        job_command([])


LOCAL, REMOTE = "http://127.0.0.1:8265", "http://head:8265"


def test_the_id_follows_from_what_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = submission_id_of(["response_mlp", "a=1"], REMOTE)
    assert first.startswith("pertcast-train-")
    assert submission_id_of(["train", "response_mlp", "a=1"], REMOTE) == first
    assert submission_id_of(["response_mlp", "a=2"], REMOTE) != first
    here = submission_id_of(["response_mlp", "a=1"], LOCAL)
    monkeypatch.chdir(tmp_path)
    assert submission_id_of(["response_mlp", "a=1"], LOCAL) != here
    assert submission_id_of(["response_mlp", "a=1"], REMOTE) == first


def test_a_local_job_uses_this_interpreter_and_folder_and_a_remote_one_the_images_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    line = job_entrypoint(["evaluate", "a run"], LOCAL)
    assert line == f"cd '{folder}' && exec {sys.executable} -m pertcast_jobs evaluate 'a run'"
    assert job_entrypoint(["evaluate", "a run"], REMOTE) == "pertcast evaluate 'a run'"


def test_where_no_cluster_answers_the_error_names_the_address_and_the_remedy() -> None:
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:9.*ray start --head"):
        Jobs("http://127.0.0.1:9")


@pytest.fixture(scope="module")
def jobs(ray_cluster: Any) -> Jobs:
    assert ray_cluster.dashboard_url is not None
    return Jobs(ray_cluster.dashboard_url)


def test_a_submitted_command_runs_and_its_output_is_shown_until_it_ends(
    jobs: Jobs, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data", "inspect", "--help"]
    assert run(["job", "submit", "--address", jobs.address, "--wait", *words]) == 0
    shown = capsys.readouterr().out
    identifier = shown.splitlines()[0]
    assert identifier == submission_id_of(words, jobs.address)
    assert shown.count("Usage: pertcast data inspect") == 1
    assert run(["job", "list", "--address", jobs.address]) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines() if identifier in line] == [
        "SUCCEEDED"
    ]


def test_relative_paths_mean_what_they_mean_where_a_job_is_submitted(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["data", "simulate", "--regime", "linear", "--out", "atlas", "--genes", "100", "--cells", "200"]
    jobs.wait(jobs.submit(words))
    assert (tmp_path / "atlas" / "wells.h5ad").is_file()


def test_a_failing_command_fails_its_job_and_runs_again_beside_it(jobs: Jobs, tmp_path: Path) -> None:
    words = ["data", "inspect", str(tmp_path / "nothing-here")]
    first = jobs.submit(words)
    with pytest.raises(JobFailed, match=first):
        jobs.wait(first)
    second = jobs.submit(words)
    assert second == f"{first}-2"
    with pytest.raises(JobFailed, match=second):
        jobs.wait(second)
    for identifier in (first, second):
        assert "nothing-here" in jobs.logs(identifier)


def test_a_command_that_runs_already_is_not_started_again_and_can_be_stopped(
    jobs: Jobs, tmp_path: Path
) -> None:
    large = ["--genes", "20000", "--cells", "200000"]
    words = ["data", "simulate", "--regime", "linear", "--out", str(tmp_path / "atlas"), *large]
    first = jobs.submit(words)
    deadline = time.monotonic() + 60
    while jobs.status(first) == "PENDING" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert jobs.submit(words) == first
    assert jobs.status(first) == "RUNNING"
    assert jobs.stop(first)
    with pytest.raises(JobFailed, match="STOPPED"):
        jobs.wait(first)
    assert not jobs.stop(first)


def test_an_unknown_job_is_named_beside_the_known_ones(jobs: Jobs) -> None:
    with pytest.raises(ConfigError, match="no-such-job"):
        jobs.status("no-such-job")
