"""Commands become jobs of a Ray cluster: the sender's code, the job's exit code, output over cut lines."""

from __future__ import annotations

import json
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
from pertcast_data.errors import ConfigError
from pertcast_jobs.cli import run
from pertcast_jobs.cluster import ray_jobs, retry
from pertcast_jobs.cluster.job_client import AlreadyThere, NoSuchJob
from pertcast_jobs.cluster.ray_jobs import RayJobs
from pertcast_jobs.cluster.ray_logs import follow_logs

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def jobs(ray_cluster: Any) -> RayJobs:
    assert ray_cluster.dashboard_url is not None
    return RayJobs(ray_cluster.dashboard_url)


def _submit_script(jobs: RayJobs, name: str, script: str, environment: dict[str, Any] | None = None) -> str:
    """Submit a job that is no Pertcast command: what a cluster tells of codes and output is the same."""
    entrypoint = f"exec {sys.executable} -c '{script}'"
    made = jobs._client.submit_job(entrypoint=entrypoint, submission_id=name, runtime_env=environment)
    return str(made)


def test_the_senders_code_runs_its_output_is_shown_and_its_exit_code_is_the_commands(
    jobs: RayJobs, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The session's head is started by no activated environment: its PATH may hold another python.
    monkeypatch.setattr(ray_jobs, "CLUSTER_PYTHON", sys.executable)
    words = ["data", "inspect", str(tmp_path / "nothing-here")]
    options = ["job", "submit", "--address", jobs.address, "--ship", "--wait"]
    assert run([*options, *words]) == 1
    first, *shown = capsys.readouterr().out.splitlines()
    text = "\n".join(shown)
    assert text.count("code sent with the job, in ") == 1
    # The tests' installation lies elsewhere: only Ray's unpacked archive has such a folder.
    assert "/working_dir_files/_ray_pkg_" in text.partition("code sent with the job, in ")[2]
    assert text.count(f"error: {tmp_path}/nothing-here: no such file") == 1

    assert run([*options, *words]) == 1
    assert capsys.readouterr().out.splitlines()[0] == f"{first}-2"
    assert run(["job", "status", "--address", jobs.address, "--json", first]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["status"], told["exit_code"]) == ("FAILED", 1)
    assert told["started"] <= told["ended"]


def test_relative_paths_mean_what_they_mean_where_a_local_job_is_submitted(
    jobs: RayJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["data", "simulate", "--regime", "linear", "--out", "atlas", "--genes", "100", "--cells", "200"]
    assert jobs.wait(jobs.submit(words)).exit_code == 0
    assert (tmp_path / "atlas" / "wells.h5ad").is_file()


def test_a_command_that_runs_already_is_not_started_again_and_can_be_stopped(
    jobs: RayJobs, tmp_path: Path
) -> None:
    large = ["--genes", "20000", "--cells", "200000"]
    words = ["data", "simulate", "--regime", "linear", "--out", str(tmp_path / "atlas"), *large]
    first = jobs.submit(words)
    deadline = time.monotonic() + 60
    while jobs.describe(first).status == "PENDING" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert jobs.submit(words) == first
    told = jobs.describe(first)
    assert (told.status, told.words) == ("RUNNING", tuple(words))
    with pytest.raises(ConfigError, match="taken"):
        jobs.submit([*words[:-1], "1000"], first)
    assert jobs.stop(first)
    ended = jobs.wait(first)
    assert (ended.status, ended.exit_code) == ("STOPPED", None)
    assert not jobs.stop(first)


@pytest.mark.parametrize(
    ("name", "script", "code"),
    [
        ("preempted", "import sys; sys.exit(143)", 143),
        ("killed", "import os; os.kill(os.getpid(), 9)", 137),
    ],
)
def test_the_code_of_the_jobs_process_is_told(jobs: RayJobs, name: str, script: str, code: int) -> None:
    assert jobs.wait(_submit_script(jobs, f"code-{name}", script)).exit_code == code


def test_a_job_has_time_to_tidy_up_before_it_is_killed(jobs: RayJobs, tmp_path: Path) -> None:
    left = tmp_path / "checkpoint"
    script = (
        "import signal, sys, time\n"
        f'def tidy(*_): time.sleep(4); open("{left}", "w").close(); sys.exit(143)\n'
        'signal.signal(signal.SIGTERM, tidy); print("ready", flush=True); time.sleep(60)'
    )
    name = _submit_script(jobs, "tidies-up", script, jobs._environment(tmp_path, {}))
    for text in jobs.follow(name):
        if "ready" in text:
            break
    assert jobs.stop(name)
    jobs.wait(name)
    assert left.exists(), "Ray's own 3 s from SIGTERM to SIGKILL would not have been enough"


class CutLine:
    """A TCP relay to the dashboard whose connections can be cut, as a network does."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._pairs: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            self._pairs += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._relay, args=(source, sink), daemon=True).start()

    @staticmethod
    def _relay(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            end.close()

    def cut(self) -> None:
        for end in self._pairs:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self._pairs.clear()

    def close(self) -> None:
        self._listener.close()
        self.cut()


@pytest.fixture
def line(jobs: RayJobs) -> Iterator[CutLine]:
    address = urlparse(jobs.address)
    made = CutLine((str(address.hostname), int(address.port or 80)))
    yield made
    made.close()


def test_long_output_is_followed_over_cut_connections_without_loss_or_repetition(
    jobs: RayJobs, line: CutLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "PAUSE_S", 0.2)
    script = (
        "import time\n"
        'for i in range(20000): print(f"line {i} grün", flush=i % 2000 == 0)\n'
        "time.sleep(3)\n"
        'print("the end")'
    )
    name = _submit_script(jobs, "long-output", script)
    text, cuts = "", [1_000, 100_000, 250_000]
    for chunk in RayJobs(f"http://127.0.0.1:{line.port}").follow(name):
        text += chunk
        if cuts and len(text) > cuts[0]:
            cuts.pop(0)
            line.cut()
    assert not cuts, "the line was cut as often as planned"
    lines = [found for found in text.splitlines() if found.startswith("line ")]
    assert lines == [f"line {number} grün" for number in range(20_000)]
    assert text.splitlines()[-1] == "the end"


def test_a_wrong_token_is_refused_with_the_remedy(jobs: RayJobs) -> None:
    with pytest.raises(ConfigError, match="RAY_AUTH_TOKEN"):
        RayJobs(jobs.address, token=secrets.token_hex(32)).check()
    stale = RayJobs(jobs.address, token=secrets.token_hex(32))
    with pytest.raises(ConfigError, match="RAY_AUTH_TOKEN"):
        list(follow_logs(lambda: stale.tail("x"), has_ended=lambda: False, whole=str, what="job x"))


def test_an_id_that_is_taken_is_told_as_such(jobs: RayJobs) -> None:
    _submit_script(jobs, "taken-id", "pass")
    with pytest.raises(AlreadyThere):
        _submit_script(jobs, "taken-id", "pass")


def test_an_unknown_job_is_named_beside_the_known_ones(jobs: RayJobs) -> None:
    _submit_script(jobs, "known-job", "pass")
    with pytest.raises(NoSuchJob, match=r"'no-such-job'.*known: .*known-job"):
        jobs.describe("no-such-job")
