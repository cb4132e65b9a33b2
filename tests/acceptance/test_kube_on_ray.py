"""RayJobs on a real Ray head: the test's operator sends them there, everything else is as on a cluster."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import kube_api as kube
import pytest
import ray_head as heads
import yaml
from kube_lab import NEEDS_KUBECTL, kube_lab
from kubectl_forward import kubectl_forward
from pertcast_jobs.cli import run
from pertcast_jobs.cluster.kube.kube_jobs import KubeJobs
from ray.job_submission import JobSubmissionClient

pytestmark = [pytest.mark.ray, pytest.mark.acceptance, NEEDS_KUBECTL]


class Operator(threading.Thread):
    """Sends each RayJob to the head and mirrors Ray's status, as KubeRay does in HTTPMode.

    The Ray job of a RayJob that is deleted is stopped, as by KubeRay's finalizer.
    """

    def __init__(self, api: kube.KubeApi, address: str) -> None:
        super().__init__(daemon=True)
        self._api, self._client = api, JobSubmissionClient(address)
        self.done = threading.Event()

    def run(self) -> None:
        sent: set[str] = set()
        while not self.done.wait(0.2):
            jobs = self._api.jobs()
            for name in jobs.keys() - sent:
                self._send(name, jobs[name]["spec"])
            for name in sent - jobs.keys():
                self._client.stop_job(f"{name}-x7k2p")
            sent = set(jobs)
            for name in sent:
                self._mirror(name)

    def _send(self, name: str, spec: dict[str, Any]) -> None:
        environment = yaml.safe_load(spec["runtimeEnvYAML"])
        # The image's `pertcast` is this one.
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment["env_vars"] = {**environment.get("env_vars", {}), "PATH": path}
        self._client.submit_job(
            entrypoint=spec["entrypoint"], submission_id=f"{name}-x7k2p", runtime_env=environment
        )
        url = "pertcast-head-svc.lab.svc.cluster.local:8265"
        self._tell(
            name, jobId=f"{name}-x7k2p", rayClusterName="pertcast", dashboardURL=url,
            jobDeploymentStatus="Running",
        )  # fmt: skip

    def _mirror(self, name: str) -> None:
        info = self._client.get_job_info(f"{name}-x7k2p")
        ended = {"SUCCEEDED": "Complete", "STOPPED": "Complete", "FAILED": "Failed"}
        self._tell(
            name, jobStatus=info.status.value, message=info.message,
            jobDeploymentStatus=ended.get(info.status.value, "Running"),
        )  # fmt: skip

    def _tell(self, name: str, **status: Any) -> None:
        with suppress(KeyError):  # it may have been deleted meanwhile
            self._api.set_status(name, **status)


@pytest.fixture(scope="module")
def cluster(ray_cluster: Operator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """An API server, its operator and the session's Ray head, to which a port-forward leads."""
    address = ray_cluster.dashboard_url
    assert address is not None
    folder = tmp_path_factory.mktemp("kube")
    with (
        pytest.MonkeyPatch.context() as patch,
        kube_lab(folder, patch, os.environ["RAY_AUTH_TOKEN"]) as api,
        kubectl_forward(folder / "way") as way,
    ):
        patch.setenv("PATH", str(way.programs), prepend=":")
        way.serve(urlparse(address).port or 80, "pertcast-head-svc")
        operator = Operator(api, address)
        operator.start()
        try:
            yield operator
        finally:
            operator.done.set()
            operator.join()


def test_a_command_runs_its_output_is_shown_and_its_exit_code_is_this_commands(
    cluster: Operator, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["job", "submit", "--kube", "--wait", "data", "inspect", "--help"]) == 0
    assert capfd.readouterr().out.count("Usage: pertcast data inspect") == 1
    assert run(["job", "submit", "--kube", "--wait", "data", "inspect", "/nothing/here"]) == 1
    assert "/nothing/here" in capfd.readouterr().out


def test_a_configuration_from_here_is_read_there(
    cluster: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("model:\n  name: response_mlp\ndata:\n  store: /nothing/mine\n")
    assert run(["job", "submit", "--kube", "--wait", "mine.yaml", "--out", str(tmp_path / "run")]) == 1
    assert "/nothing/mine" in capfd.readouterr().out


def test_a_running_command_is_stopped_and_its_record_stays(cluster: Operator, tmp_path: Path) -> None:
    jobs = KubeJobs()
    large = ["--genes", "20000", "--cells", "200000"]
    words = ["data", "simulate", "--regime", "linear", "--out", str(tmp_path / "atlas"), *large]
    name = jobs.submit(words)
    for again in (name, f"{name}-2"):
        assert jobs.submit(words) == again
        heads.wait_for(lambda: jobs.describe(again).status == "RUNNING", "the job to run", 200)  # noqa: B023
        started = time.monotonic()
        assert jobs.stop(again)
        assert jobs.wait(again).status == "STOPPED"
        assert time.monotonic() - started < 60
    assert cluster.is_alive()
