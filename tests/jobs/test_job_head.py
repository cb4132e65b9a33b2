"""Jobs over the Jobs API of a head: the address that is asked, one job a command, what faults are told as."""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray_head as heads
from pertcast_data.errors import ConfigError
from pertcast_jobs.cli import run
from pertcast_jobs.cluster import ray_jobs, retry
from pertcast_jobs.cluster.job_client import ClusterJobs, JobFailed, NoSuchJob
from pertcast_jobs.cluster.ray_jobs import RayJobs, cluster_address, is_local
from pertcast_jobs.cluster.retry import Unreachable

TRAINING = ["response_mlp", "data.store=/data/store", "--out", "/data/run"]
OTHER = ["response_mlp", "data.store=/data/store", "train.epochs=3", "--out", "/data/run"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_jobs, "_POLL_S", 0.05)
    monkeypatch.setattr(retry, "PAUSE_S", 0.05)


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Iterator[heads.RayHead]:
    with heads.ray_head() as made:
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", made.address)
        yield made


@pytest.fixture
def jobs(head: heads.RayHead) -> RayJobs:
    return RayJobs(token=heads.TOKEN)


def command_line(job: heads.RayJob) -> str:
    """Return the pertcast command that a job of the head runs."""
    return job.entrypoint.partition(" -m pertcast_jobs ")[2]


def test_the_given_address_is_asked_and_gets_the_token_whatever_rays_variables_say(
    head: heads.RayHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    with heads.ray_head() as other:
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", other.address)
        monkeypatch.setenv("RAY_ADDRESS", other.address)
        name = RayJobs(head.address, token=heads.TOKEN).submit(TRAINING)
        assert list(head.jobs) == [name]
        assert other.asked == []


def test_without_an_address_only_rays_variable_of_job_addresses_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://elsewhere:8265")
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    assert RayJobs().address == "http://127.0.0.1:8265"
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://head:8265/")
    assert RayJobs().address == "http://head:8265"


def test_an_address_without_a_scheme_is_one_of_http() -> None:
    assert cluster_address("head:8265") == "http://head:8265"
    assert is_local(cluster_address("127.0.0.1:8265"))
    assert cluster_address("https://host/ray") == "https://host/ray"


@pytest.mark.parametrize("address", ["ray://head:10001", "http://:8265", "head:port", "http://head:0"])
def test_an_address_of_no_jobs_api_is_refused_at_once_with_how_it_looks(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["job", "list", "--address", address]) == 1
    told = capsys.readouterr().err
    assert address in told and "http://HOST:8265" in told


def test_words_are_checked_before_the_cluster_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["job", "submit", "--address", "http://127.0.0.1:9", *TRAINING, "train.batchsize=3"]) == 1
    told = capsys.readouterr().err
    assert "train.batch_size" in told and "127.0.0.1:9" not in told


def test_another_server_is_not_taken_for_a_cluster(head: heads.RayHead) -> None:
    for place in ("/page", "/nowhere"):
        with pytest.raises(ConfigError, match=r"no Jobs API.*http://HOST:8265"):
            RayJobs(head.address + place, token=heads.TOKEN).list()


def test_the_same_words_make_one_job_and_go_on_after_its_end_however_it_ended(
    head: heads.RayHead, jobs: RayJobs
) -> None:
    first = jobs.submit(TRAINING)
    assert jobs.submit(["train", *TRAINING]) == first
    assert command_line(head.jobs[first]) == shlex.join(["train", *TRAINING])
    for number, status in enumerate(("FAILED", "SUCCEEDED", "STOPPED"), start=2):
        for job in head.jobs.values():
            job.status = status
        again = jobs.submit(TRAINING)
        assert again == f"{first}-{number}"
        assert command_line(head.jobs[again]) == shlex.join(["train", *TRAINING, "--resume"])
        assert jobs.submit(TRAINING) == again


def test_an_id_that_another_command_has_is_refused_while_that_runs(
    head: heads.RayHead, jobs: RayJobs
) -> None:
    assert jobs.submit(TRAINING, "nightly") == jobs.submit(TRAINING, "nightly") == "nightly"
    with pytest.raises(ConfigError, match=r"nightly is taken.*RUNNING.*/data/run.*--submission-id"):
        jobs.submit(OTHER, "nightly")
    assert list(head.jobs) == ["nightly"]
    head.jobs["nightly"].status = "FAILED"
    other = jobs.submit(OTHER, "nightly")
    assert other == "nightly-2"
    assert "--resume" not in head.jobs[other].entrypoint, "another run has nothing to go on with"


@pytest.mark.parametrize("ship", [True, False])
def test_a_configuration_that_has_changed_is_another_command(
    head: heads.RayHead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ship: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("model: {name: response_mlp}\ndata: {store: /data/store}\n")
    monkeypatch.setattr(RayJobs, "_environment", lambda *given: {})  # nothing travels in this test
    jobs = RayJobs(token=heads.TOKEN, ship=ship)
    words = ["mine.yaml", "--out", "/data/run"]
    assert jobs.submit(words, "nightly") == "nightly"
    first = jobs.submit(words)
    Path("mine.yaml").write_text("model: {name: response_mlp}\ndata: {store: /data/other}\n")
    with pytest.raises(ConfigError, match="taken"):
        jobs.submit(words, "nightly")
    assert jobs.submit(words) != first


def test_two_submissions_at_once_make_one_job(
    head: heads.RayHead, jobs: RayJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.submit(TRAINING, "nightly")
    monkeypatch.setattr(RayJobs, "list", lambda self: [])  # what it looked like a moment before
    assert jobs.submit(TRAINING, "nightly") == "nightly"
    with pytest.raises(ConfigError, match="taken"):
        jobs.submit(OTHER, "nightly")
    assert len(head.jobs) == 1


def test_a_job_that_was_taken_is_found_where_only_the_answer_was_lost(
    head: heads.RayHead, jobs: RayJobs
) -> None:
    head.lost_answers = 1
    name = jobs.submit(TRAINING)
    assert list(head.jobs) == [name]


def test_a_head_without_an_agent_is_told_with_the_ports_and_other_errors_in_their_own_words(
    head: heads.RayHead, jobs: RayJobs
) -> None:
    head.refusal = (500, "No available agent to submit job, please try again later.")
    with pytest.raises(JobFailed, match=r"No available agent.*--dashboard-agent-listen-port"):
        jobs.submit(TRAINING)
    head.refusal = (500, 'Traceback:\n  File "x"\nValueError: the disk is full\n.\n')
    with pytest.raises(Unreachable, match=r"answers 500: ValueError: the disk is full$"):
        jobs.submit(TRAINING)
    head.refusal = (400, "TypeError: no such field")
    with pytest.raises(JobFailed, match="no such field") as told:
        jobs.submit(TRAINING)
    assert not isinstance(told.value, Unreachable), "it would be asked for ten minutes in vain"


def test_a_wrong_token_is_told_with_the_remedy_by_whatever_asks_first(head: heads.RayHead) -> None:
    wrong = RayJobs(token="6" * 64)
    for ask in (wrong.check, wrong.list, lambda: wrong.submit(TRAINING), lambda: list(wrong.follow("x"))):
        with pytest.raises(ConfigError, match="RAY_AUTH_TOKEN"):
            ask()


def test_an_unknown_job_is_named_beside_the_known_ones(jobs: RayJobs) -> None:
    name = jobs.submit(TRAINING)
    with pytest.raises(NoSuchJob, match=rf"'no-such'.*known: {name}"):
        jobs.describe("no-such")


def test_a_followed_job_ends_with_its_own_code_though_requests_are_lost_at_its_end(
    head: heads.RayHead, jobs: RayJobs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pertcast_jobs.cli.job.RayJobs", lambda address: jobs)
    name = jobs.submit(TRAINING)
    head.cut_after_end = 3
    job = head.jobs[name]

    def end() -> None:
        job.text, job.code, job.status = "done\n", 0, "SUCCEEDED"

    threading.Timer(0.5, end).start()
    assert run(["job", "logs", "-f", name]) == 0
    assert head.cut_after_end == 0
    assert capsys.readouterr().out == "done\n"


def test_the_reason_is_shown_where_a_process_has_no_exit_code(
    head: heads.RayHead, jobs: RayJobs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pertcast_jobs.cli.job.RayJobs", lambda address: jobs)
    name = jobs.submit(TRAINING)
    head.jobs[name].status, head.jobs[name].message = "FAILED", "runtime_env setup failed: no space"
    for words in (["logs", "-f", name], ["status", name]):
        run(["job", *words])
        assert "no space" in capsys.readouterr().err
    head.jobs[name].code = 2
    assert run(["job", "logs", "-f", name]) == 2
    assert "no space" not in capsys.readouterr().err, "the output says it"


def test_a_list_shows_commands_and_json_their_words(
    jobs: RayJobs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pertcast_jobs.cli.job.RayJobs", lambda address: jobs)
    found: ClusterJobs = jobs
    found.submit([*TRAINING[:-1], "/data/a run"])
    assert run(["job", "list"]) == 0
    assert capsys.readouterr().out.endswith(
        "pertcast train response_mlp data.store=/data/store --out '/data/a run'\n"
    )
    assert run(["job", "list", "--json"]) == 0
    told: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert told[0]["words"] == ["train", *TRAINING[:-1], "/data/a run"]
