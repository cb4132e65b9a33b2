"""KubeRay's two statuses of a RayJob in the words of every way to a cluster's jobs."""

from __future__ import annotations

from typing import Any

import pytest
from kube_lab import LOST
from pertcast_jobs.cluster.kube.job_status import exit_code_of, row_of, status_of


def rayjob(deployment: str = "", ray: str = "", **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "pertcast-train-1"},
        "spec": {"entrypoint": "pertcast train"},
        "status": {"jobDeploymentStatus": deployment, "jobStatus": ray, **status},
    }


@pytest.mark.parametrize(
    ("deployment", "ray", "word"),
    [
        ("", "", "PENDING"),
        ("Initializing", "", "PENDING"),
        ("Waiting", "", "PENDING"),
        ("Running", "", "PENDING"),
        ("Running", "PENDING", "PENDING"),
        ("Running", "RUNNING", "RUNNING"),
        ("Retrying", "FAILED", "PENDING"),
        ("Suspending", "RUNNING", "PENDING"),
        ("Suspended", "", "PENDING"),
        ("Complete", "SUCCEEDED", "SUCCEEDED"),
        ("Complete", "STOPPED", "STOPPED"),
        ("Failed", "FAILED", "FAILED"),
        ("Failed", "RUNNING", "FAILED"),
        ("Failed", "STOPPED", "STOPPED"),
        ("Failed", "", "FAILED"),
        ("ValidationFailed", "", "FAILED"),
    ],
)
def test_each_pair_of_statuses_has_its_word(deployment: str, ray: str, word: str) -> None:
    assert status_of(rayjob(deployment, ray)) == word


def test_a_job_that_is_being_deleted_has_stopped_and_one_without_status_waits() -> None:
    job = rayjob("Running", "RUNNING")
    job["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert status_of(job) == "STOPPED"
    del job["metadata"]["deletionTimestamp"], job["status"]
    assert status_of(job) == "PENDING"


@pytest.mark.parametrize(
    ("ray", "message", "code"),
    [
        ("SUCCEEDED", "Job finished successfully.", 0),
        ("FAILED", LOST.format(2), 2),
        ("FAILED", LOST.format(143), 143),
        ("FAILED", LOST.format(-9), 137),
        ("FAILED", "The node of the job died.", None),
        ("STOPPED", "Job was intentionally stopped.", None),
    ],
)
def test_the_exit_code_is_read_from_what_ray_says(ray: str, message: str, code: int | None) -> None:
    deployment = "Failed" if ray == "FAILED" else "Complete"
    assert exit_code_of(rayjob(deployment, ray, message=message)) == code


def test_a_running_job_has_no_exit_code() -> None:
    assert exit_code_of(rayjob("Running", "RUNNING", message=LOST.format(1))) is None


def test_a_row_tells_why_and_when() -> None:
    info = {"startTime": "2026-01-01T00:00:05Z", "endTime": "2026-01-01T00:01:00Z"}
    row = row_of(rayjob("Failed", "", reason="DeadlineExceeded", message="too long", rayJobInfo=info))
    assert row.message == "DeadlineExceeded: too long"
    assert (row.started, row.ended) == ("2026-01-01T00:00:05+00:00", "2026-01-01T00:01:00+00:00")
    assert row_of(rayjob("Failed", "FAILED", reason="AppFailed", message="said")).message == "said"
