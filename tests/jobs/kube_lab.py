"""A namespace with a standing Ray cluster for tests, and what KubeRay's operator does with the jobs in it."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kube_api as kube
import pytest
import ray_head as heads
import yaml
from pertcast_jobs.cluster.kube.kube_jobs import KubeJobs

NEEDS_KUBECTL = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
WORDS = ["response_mlp", "data.store=/data/store", "--out", "/data/run"]
LOST = "Job entrypoint command failed with exit code {}, last available logs (truncated to 20,000 chars):\nx"
"""What Ray says of a failed job, for its exit code."""


@contextmanager
def kube_lab(
    folder: Path, monkeypatch: pytest.MonkeyPatch, token: str = heads.TOKEN
) -> Iterator[kube.KubeApi]:
    """Serve a cluster whose namespace `lab` has the RayCluster `pertcast`; kubectl finds it."""
    monkeypatch.setenv("KUBECACHEDIR", str(folder / "cache"))
    with kube.kube_api(folder) as (api, config):
        monkeypatch.setenv("KUBECONFIG", str(config))
        api.add("rayclusters", "lab", {"metadata": {"name": "pertcast"}, "status": {"state": "ready"}})
        add_token(api, "pertcast", token)
        yield api


def add_token(api: kube.KubeApi, cluster: str, token: str) -> None:
    """Add the secret that KubeRay makes for a cluster."""
    data = {"auth_token": base64.b64encode(token.encode()).decode()}
    api.add("secrets", "lab", {"metadata": {"name": cluster}, "data": data})


def submitted(api: kube.KubeApi, words: list[str] = WORDS) -> str:
    """Do what `submit` does, without its questions; returns the job's name."""
    document = yaml.safe_load(KubeJobs().render(words))
    api.add("rayjobs", "lab", document)
    return str(document["metadata"]["name"])


def begin(
    api: kube.KubeApi, head: heads.RayHead, name: str, cluster: str = "pertcast", attempt: str = "1"
) -> heads.RayJob:
    """Do what the operator does: send the RayJob to its cluster's head; returns the job there."""
    job_id = f"{name}-{attempt}"
    head.jobs[job_id] = heads.RayJob(api.jobs()[name]["spec"]["entrypoint"])
    url = f"{cluster}-head-svc.lab.svc.cluster.local:8265"
    running = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}
    api.set_status(name, **running, jobId=job_id, rayClusterName=cluster, dashboardURL=url)
    return head.jobs[job_id]


def end(api: kube.KubeApi, job: heads.RayJob, name: str, status: str, message: str = "") -> None:
    """End a job at its head, and tell the RayJob."""
    job.status = status
    deployment = "Failed" if status == "FAILED" else "Complete"
    reason: dict[str, Any] = {"reason": "AppFailed"} if status == "FAILED" else {}
    api.set_status(name, jobDeploymentStatus=deployment, jobStatus=status, message=message, **reason)
