"""What is missing on the way to a Kubernetes cluster is told with its remedy, by real kubectl's own words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kube_api as kube
import pytest
from kube_lab import NEEDS_KUBECTL, WORDS, kube_lab
from pertcast_data.errors import ConfigError
from pertcast_jobs.cli import run
from pertcast_jobs.cluster.job_client import JobFailed, NoSuchJob
from pertcast_jobs.cluster.kube.kube_jobs import KubeJobs
from pertcast_jobs.cluster.retry import Unreachable

pytestmark = NEEDS_KUBECTL


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with kube_lab(tmp_path, monkeypatch) as made:
        yield made


def _no_operator(api: Any) -> None:
    api.has_operator = False


def _no_login(api: Any) -> None:
    api.accepts_login = False


def _no_cluster(api: Any) -> None:
    del api.objects["rayclusters", "lab", "pertcast"]
    api.add("rayclusters", "lab", {"metadata": {"name": "other"}})


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (_no_operator, r"install the KubeRay operator"),
        (_no_login, r"log in again"),
        (_no_cluster, r"No RayCluster 'pertcast'.*known: other.*--manifests"),
        (lambda api: api.forbidden.add(("create", "rayjobs")), r"auth can-i"),
        (lambda api: api.forbidden.add(("list", "rayjobs")), r"auth can-i"),
    ],
)
def test_what_a_cluster_lacks_is_told_with_the_remedy(
    api: Any, fault: Callable[[Any], None], told: str
) -> None:
    fault(api)
    with pytest.raises(ConfigError, match=told):
        KubeJobs().submit(WORDS)
    assert api.jobs() == {}


def test_a_namespace_that_does_not_exist_is_not_taken_for_an_empty_one(api: Any) -> None:
    with pytest.raises(ConfigError, match="create namespace"):
        KubeJobs("labb").list()
    with pytest.raises(ConfigError, match="create namespace"):
        KubeJobs("labb").submit(WORDS)
    api.forbidden.add(("get", "namespaces"))
    assert KubeJobs("lab").list() == []


def test_a_field_that_an_old_operator_does_not_know_is_told(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kube, "RAYJOB_FIELDS", kube.RAYJOB_FIELDS - {"submissionMode"})
    with pytest.raises(ConfigError, match=r"1\.5\.1"):
        KubeJobs().submit(WORDS)


def test_without_kubectl_the_other_way_is_named(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match=r"not on the PATH.*--address"):
        KubeJobs().list()


def test_without_a_context_kubectl_config_is_named(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/dev/null")
    with pytest.raises(ConfigError, match="KUBECONFIG"):
        KubeJobs().list()


def test_an_api_server_that_does_not_answer_may_come_back(api: Any, tmp_path: Path) -> None:
    config = tmp_path / "kubeconfig"
    address = config.read_text().partition('"server": "')[2].partition('"')[0]
    config.write_text(config.read_text().replace(address, "http://127.0.0.1:9"))
    with pytest.raises(Unreachable, match="cluster-info"):
        KubeJobs().list()


@pytest.mark.parametrize("name", ["timeout-sweep", "connection-refused"])
def test_what_people_call_a_job_is_not_taken_for_what_kubectl_says(
    api: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NoSuchJob, match=name):
        KubeJobs().describe(name)
    said = kube.failure(422, "Invalid", f'RayJob.ray.io "{name}" is invalid: spec: of no use')
    monkeypatch.setattr(kube, "create", lambda *given: said)
    with pytest.raises(JobFailed, match="of no use") as told:
        KubeJobs().submit(WORDS, name)
    assert not isinstance(told.value, Unreachable)


@pytest.mark.parametrize(
    "words",
    [
        ["train", "response_mlp", "--out", "/data/run", "--no-such-option"],
        ["--submission-id", "Not_A_Name", *WORDS],
        ["response_mlp", "data.store=/data/store", "--out", "run"],
        ["--cluster", "a", "--manifests", "b", *WORDS],
        ["no-such-config", "--out", "/data/run"],
    ],
)
def test_words_that_cannot_run_reach_no_cluster(api: Any, words: list[str]) -> None:
    assert run(["job", "submit", "--kube", *words]) in (1, 2)
    assert api.asked == []


@pytest.mark.parametrize(
    "options",
    [["--kube", "--address", "http://h"], ["--namespace", "lab"], ["--dry-run"], ["--kube", "--ship"]],
)
def test_options_of_the_two_ways_do_not_mix(options: list[str]) -> None:
    assert run(["job", "submit", *options, *WORDS]) == 2
