"""RayJobs are followed, stopped and asked for their ends through a port that is forwarded to their head."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kube_api as kube
import pytest
import ray_head as heads
import yaml
from kube_lab import LOST, NEEDS_KUBECTL, WORDS, add_token, begin, end, kube_lab, submitted
from kubectl_forward import KubectlForward, kubectl_forward
from pertcast_data.errors import ConfigError
from pertcast_jobs.cli import run
from pertcast_jobs.cluster import retry
from pertcast_jobs.cluster.job_client import JobFailed
from pertcast_jobs.cluster.kube import kube_jobs
from pertcast_jobs.cluster.kube.kube_jobs import KubeJobs
from pertcast_jobs.cluster.retry import Unreachable

pytestmark = NEEDS_KUBECTL


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube_jobs, "_POLL_S", 0.05)
    monkeypatch.setattr(retry, "PAUSE_S", 0.05)


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with kube_lab(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubectlForward]:
    """A kubectl that forwards ports."""
    with kubectl_forward(tmp_path / "way") as made:
        monkeypatch.setenv("PATH", str(made.programs), prepend=":")
        yield made


@pytest.fixture
def head(api: Any, way: KubectlForward) -> Iterator[heads.RayHead]:
    """The head of the standing cluster, to which forwardings lead."""
    with heads.ray_head() as made:
        way.serve(made.port, "pertcast-head-svc")
        yield made


def test_a_followed_job_shows_its_output_and_ends_with_its_own_code(
    api: Any, head: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    name = submitted(api)
    job = begin(api, head, name)
    job.text = "one\ntwo\n"
    end(api, job, name, "FAILED", LOST.format(143))
    assert run(["job", "logs", "-f", "--kube", name]) == 143
    assert capfd.readouterr().out == "one\ntwo\n"
    assert run(["job", "status", "--kube", "--json", name]) == 0
    told = json.loads(capfd.readouterr().out)
    assert (told["status"], told["exit_code"], told["submission_id"]) == ("FAILED", 143, name)


def test_the_output_is_followed_over_a_cut_forwarding_without_losing_or_repeating_a_line(
    api: Any, head: Any, way: KubectlForward
) -> None:
    jobs = KubeJobs()
    name = submitted(api)
    shown: list[str] = []
    follower = threading.Thread(target=lambda: shown.extend(jobs.follow(name)))
    follower.start()  # before the job has a cluster
    job = begin(api, head, name)
    lines = [f"epoch {number}\n" for number in range(6)]
    for number, line in enumerate(lines):
        job.text += line
        heads.wait_for(lambda: "".join(shown) == job.text, "the line")
        if number == 3:
            way.cut()
    end(api, job, name, "SUCCEEDED")
    follower.join(20)
    assert "".join(shown) == "".join(lines)
    assert jobs.wait(name).exit_code == 0
    heads.wait_for(lambda: not way.forwardings(), "the end of the forwarding")


def test_a_job_that_the_operator_tries_again_is_followed_on_its_new_cluster(
    api: Any, head: Any, way: KubectlForward
) -> None:
    way.serve(head.port, "first-head-svc", "second-head-svc")
    for cluster in ("first", "second"):
        add_token(api, cluster, heads.TOKEN)
    jobs = KubeJobs()
    name = submitted(api)
    first = begin(api, head, name, "first")
    first.text = "first try\n"
    shown: list[str] = []
    follower = threading.Thread(target=lambda: shown.extend(jobs.follow(name)))
    follower.start()
    heads.wait_for(lambda: shown, "the first try")
    api.set_status(name, jobDeploymentStatus="Retrying", jobStatus="", jobId="", rayClusterName="")
    assert jobs.describe(name).status == "PENDING"
    first.status = "FAILED"
    second = begin(api, head, name, "second", "2")
    second.text = "second\n"
    end(api, second, name, "SUCCEEDED")
    follower.join(20)
    assert "".join(shown) == "first try\nsecond\n"


def test_stop_lets_ray_end_a_running_job_keeps_its_record_and_deletes_one_that_never_began(
    api: Any, head: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    jobs = KubeJobs()
    running = submitted(api)
    job = begin(api, head, running)
    assert run(["job", "stop", "--kube", running]) == 0
    assert job.status == "STOPPED"
    end(api, job, running, "STOPPED")
    assert running in api.jobs()
    assert not jobs.stop(running)
    waiting = submitted(api, [*WORDS, "train.seed=2"])
    assert jobs.stop(waiting)
    assert waiting not in api.jobs()
    assert "stopping" in capfd.readouterr().out


def test_a_job_that_ended_well_is_told_so_though_its_head_is_briefly_away_or_has_forgotten_it(
    api: Any, head: heads.RayHead, capfd: pytest.CaptureFixture[str]
) -> None:
    name = submitted(api)
    job = begin(api, head, name)
    job.text = "done\n"
    end(api, job, name, "SUCCEEDED")
    head.cut_after_end = 3
    assert run(["job", "logs", "-f", "--kube", name]) == 0
    assert head.cut_after_end == 0
    assert capfd.readouterr().out == "done\n"
    head.jobs.clear()
    assert run(["job", "logs", "-f", "--kube", name]) == 0
    assert run(["job", "logs", "--kube", name]) == 1
    assert "starts anew has forgotten the output" in capfd.readouterr().err


def test_a_head_that_does_not_answer_is_named_and_may_come_back(
    api: Any, way: KubectlForward, head: heads.RayHead
) -> None:
    name = submitted(api)
    begin(api, head, name)
    way.serve(9, "pertcast-head-svc")
    with pytest.raises(Unreachable, match="head of Ray cluster pertcast does not answer") as told:
        KubeJobs().logs(name)
    assert "ray start" not in str(told.value)


def test_where_the_cluster_is_gone_the_logs_say_so_and_where_to_look(api: Any, head: Any) -> None:
    jobs = KubeJobs()
    name = submitted(api)
    job = begin(api, head, name, "gone")
    end(api, job, name, "SUCCEEDED")
    with pytest.raises(JobFailed, match=r"gone.*--out"):
        jobs.logs(name)
    assert list(jobs.follow(name)) == []
    assert jobs.wait(name).exit_code == 0


def test_a_wrong_token_is_told_with_where_the_right_one_lies(api: Any, head: Any) -> None:
    jobs = KubeJobs()
    name = submitted(api)
    begin(api, head, name)
    add_token(api, "pertcast", "x" * 64)
    for ask in (jobs.logs, jobs.stop, lambda name: list(jobs.follow(name))):
        with pytest.raises(ConfigError, match="auth_token"):
            ask(name)


def test_the_rights_that_the_page_names_are_enough(api: Any, head: Any, repository: Path) -> None:
    page = (repository / "docs" / "jobs_on_kubernetes.md").read_text()
    role = next(block for block in page.split("```yaml\n")[1:] if "kind: Role\n" in block.partition("```")[0])
    rules = yaml.safe_load(role.partition("```")[0])["rules"]
    allowed = {(verb, kind) for rule in rules for kind in rule["resources"] for verb in rule["verbs"]}
    api.forbidden = {
        (verb, kind)
        for verb in kube.VERBS
        for kind in {**kube.CORE, **kube.RAY}
        if (verb, kind) not in allowed
    }
    jobs = KubeJobs("lab")
    name = jobs.submit(WORDS)
    assert [row.submission_id for row in jobs.list()] == [name]
    assert jobs.stop(name)
    again = jobs.submit(WORDS)
    begin(api, head, again).text = "shown\n"
    assert jobs.logs(again) == "shown\n"
    assert jobs.stop(again)
