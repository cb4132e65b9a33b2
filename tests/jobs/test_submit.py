"""Commands become jobs of a Ray cluster: the same words, a stable id, the job's own exit code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from pertcast_data.errors import ConfigError
from pertcast_jobs.submit import JobFailed, Jobs, job_command, job_entrypoint, submission_id_of


def test_a_config_is_trained_and_a_command_is_run_as_it_stands() -> None:
    assert job_command(["response_mlp", "data.store=S"]) == ["train", "response_mlp", "data.store=S"]
    assert job_command(["evaluate", "RUN"]) == ["evaluate", "RUN"]


def test_an_empty_command_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match="CONFIG"):
        job_command([])


def test_the_id_follows_from_the_command_alone() -> None:
    assert submission_id_of(["response_mlp", "a=1"]) == submission_id_of(["train", "response_mlp", "a=1"])
    assert submission_id_of(["response_mlp", "a=1"]) != submission_id_of(["response_mlp", "a=2"])


def test_a_local_job_uses_this_interpreter_and_a_remote_one_the_images_program() -> None:
    assert job_entrypoint(["evaluate", "a run"], "http://127.0.0.1:8265").startswith(f"{sys.executable} -m")
    assert job_entrypoint(["evaluate", "a run"], "http://head:8265") == "pertcast evaluate 'a run'"


def test_where_no_cluster_answers_the_error_names_the_address_and_the_remedy() -> None:
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:9.*ray start --head"):
        Jobs("http://127.0.0.1:9")


@pytest.fixture(scope="module")
def jobs(ray_cluster: Any) -> Jobs:
    assert ray_cluster.dashboard_url is not None
    return Jobs(ray_cluster.dashboard_url)


def test_a_submitted_command_runs_and_its_output_can_be_followed(jobs: Jobs, tmp_path: Path) -> None:
    words = ["data", "inspect", "--help"]
    identifier = jobs.submit(words)
    assert "".join(jobs.follow(identifier)).count("Usage: pertcast data inspect") == 1
    assert jobs.wait(identifier) == "SUCCEEDED"
    assert identifier in {job.submission_id for job in jobs.list()}


def test_a_failing_command_fails_its_job(jobs: Jobs, tmp_path: Path) -> None:
    identifier = jobs.submit(["data", "inspect", str(tmp_path / "nothing-here")])
    with pytest.raises(JobFailed, match=identifier):
        jobs.wait(identifier)
    assert "nothing-here" in jobs.logs(identifier)


def test_an_unknown_job_is_named_beside_the_known_ones(jobs: Jobs) -> None:
    with pytest.raises(ConfigError, match="no-such-job"):
        jobs.status("no-such-job")
