"""Commands become RayJobs, each once: real kubectl against a small API server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kube_lab import LOST, NEEDS_KUBECTL, WORDS, kube_lab, submitted
from pertcast_data.errors import ConfigError
from pertcast_jobs.cluster.job_client import ClusterJobs
from pertcast_jobs.cluster.kube import render
from pertcast_jobs.cluster.kube.kube_jobs import KubeJobs

pytestmark = NEEDS_KUBECTL


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with kube_lab(tmp_path, monkeypatch) as made:
        yield made


def test_a_command_becomes_a_rayjob_on_the_standing_cluster_and_says_its_words(api: Any) -> None:
    jobs: ClusterJobs = KubeJobs()
    name = jobs.submit(WORDS)
    made = api.jobs()[name]
    assert made["spec"]["clusterSelector"] == {"ray.io/cluster": "pertcast"}
    assert made["spec"]["entrypoint"] == "pertcast train response_mlp data.store=/data/store --out /data/run"
    assert json.loads(made["metadata"]["annotations"][render.WORDS_ANNOTATION]) == ["train", *WORDS]
    assert made["metadata"]["labels"]["app.kubernetes.io/part-of"] == "pertcast"
    assert [row.submission_id for row in jobs.list()] == [name]
    # KubeRay refuses or ignores these beside a clusterSelector.
    for field in ("backoffLimit", "suspend", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "jobId"):
        assert field not in made["spec"]


def test_a_command_that_runs_is_not_started_again_and_one_that_failed_goes_on_under_the_next_name(
    api: Any,
) -> None:
    jobs = KubeJobs()
    name = jobs.submit(WORDS)
    assert jobs.submit(["train", *WORDS]) == name
    api.set_status(name, jobDeploymentStatus="Failed", jobStatus="FAILED", message=LOST.format(143))
    again = jobs.submit(WORDS)
    assert again == f"{name}-2"
    assert api.jobs()[again]["spec"]["entrypoint"].endswith("--resume")
    assert jobs.submit(WORDS) == again
    # `train --resume` returns the outcome of a finished run; without it the run would be refused as taken.
    api.set_status(again, jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")
    third = jobs.submit(WORDS)
    assert api.jobs()[third]["spec"]["entrypoint"].endswith("--resume")
    assert jobs.submit([*WORDS, "train.epochs=3"]) not in (name, again)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (None, {"RAY_JOB_STOP_WAIT_TIME_S": "60"}),
        ("env_vars: {A: b}\nworking_dir: s3://b/w.zip", {"RAY_JOB_STOP_WAIT_TIME_S": "60", "A": "b"}),
        ("env_vars: {RAY_JOB_STOP_WAIT_TIME_S: '300'}", {"RAY_JOB_STOP_WAIT_TIME_S": "300"}),
    ],
)
def test_a_job_on_a_cluster_of_any_template_has_time_to_tidy_up(
    given: str | None, wanted: dict[str, str]
) -> None:
    spec = {"rayClusterSpec": {}, "runtimeEnvYAML": given}
    made = render.own_cluster_job("a", ["train"], "pertcast train", {"spec": spec})
    found = yaml.safe_load(made["spec"]["runtimeEnvYAML"])
    assert found["env_vars"] == {"RAY_USAGE_STATS_ENABLED": "0", **wanted}
    assert ("working_dir" in found) == ("working_dir" in (given or ""))
    with pytest.raises(ConfigError, match=r"runtimeEnvYAML.*job check"):
        render.own_cluster_job("a", ["train"], "x", {"spec": {"runtimeEnvYAML": "a string"}})


def test_two_submissions_at_once_make_one_job(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = KubeJobs()
    name = jobs.submit(WORDS)
    monkeypatch.setattr(KubeJobs, "list", lambda self: [])  # what it looked like a moment before
    assert jobs.submit(WORDS) == name
    with pytest.raises(ConfigError, match=rf"{name} is taken"):
        jobs.submit([*WORDS, "train.epochs=3"], name)
    assert list(api.jobs()) == [name]


def test_an_id_that_another_command_or_a_template_has_is_refused(api: Any) -> None:
    jobs = KubeJobs()
    jobs.submit(WORDS, "nightly")
    with pytest.raises(ConfigError, match=r"nightly is taken.*PENDING.*/data/run.*--submission-id"):
        jobs.submit([*WORDS, "train.epochs=3"], "nightly")
    template = {"spec": {"entrypoint": "pertcast train x", "suspend": True}}
    api.add("rayjobs", "lab", {"metadata": {"name": "pertcast-train"}, **template})
    with pytest.raises(ConfigError, match=r"pertcast-train is taken.*pertcast train x"):
        jobs.submit(WORDS, "pertcast-train")
    assert set(api.jobs()) == {"nightly", "pertcast-train"}


def test_a_configuration_from_here_travels_in_the_shell_line(
    api: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = "model:\n  name: response_mlp\ndata:\n  store: /data/it's\n"
    (tmp_path / "mine.yaml").write_text(config)
    jobs = KubeJobs()
    name = jobs.submit(["mine.yaml", "--out", "/data/run"])
    line = api.jobs()[name]["spec"]["entrypoint"]
    seen = "cat sent/mine.yaml #"
    shell = subprocess.run(
        ["sh", "-c", line.replace("exec pertcast", seen)], capture_output=True, text=True, check=True
    )
    assert shell.stdout == config
    assert line.endswith("exec pertcast train sent/mine.yaml --out /data/run")
    assert jobs.list()[0].command_line == "pertcast train sent/mine.yaml --out /data/run"
    (tmp_path / "mine.yaml").write_text(config + "train:\n  seed: 2\n")
    assert jobs.submit(["mine.yaml", "--out", "/data/run"]) != name


def test_an_unknown_job_is_named_beside_the_known_ones(api: Any) -> None:
    jobs = KubeJobs()
    name = submitted(api)
    with pytest.raises(ConfigError, match=rf"no-such.*{name}"):
        jobs.describe("no-such")
