"""`pertcast serve` as users run it: under load, while replicas come, go and are killed, to its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from bundle_copies import changed_copy, point
from pertcast.predictor import Predictor
from waiting import wait_for

pytestmark = [pytest.mark.acceptance, pytest.mark.ray]

STOPPED = {f"{how}; run the same command again to go on" for how in ("interrupted", "stopped by SIGTERM")}
CONDITIONS = [
    {"cell_iname": line, "pert_id": f"drug-{number}", "pert_dose": dose, "pert_time": 24.0}
    for line in ("A375", "HT29")
    for number in range(12)
    for dose in (1.0, 10.0)
]


class Server:
    """A `pertcast serve` in a session of its own, and everything that it started."""

    def __init__(self, bundle: Path, folder: Path, settings: str = "") -> None:
        program = "import sys; from pertcast_jobs.cli import run; sys.exit(run(sys.argv[1:]))"
        words = [sys.executable, "-c", program, "serve", "--model", str(bundle), "--port", "0"]
        if settings:
            (folder / "serve.yaml").write_text(settings)
            words += ["--config", str(folder / "serve.yaml")]
        self.out, self.err = folder / "out", folder / "err"
        self.seen: dict[int, psutil.Process] = {}
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(words, stdout=out, stderr=err, start_new_session=True)

    @property
    def url(self) -> str:
        assert wait_for(lambda: "ready: " in self.out.read_text(), 400), self.err.read_text()
        return self.out.read_text().split("ready: ")[1].split("/v1/")[0]

    def descendants(self) -> list[psutil.Process]:
        """Return all processes below the server, and remember them."""
        found = psutil.Process(self.process.pid).children(recursive=True)
        self.seen.update({process.pid: process for process in found})
        return found

    def replicas(self) -> list[psutil.Process]:
        """Return the processes of the predictor's replicas."""
        found = []
        for process in self.descendants():
            try:
                if "ServeReplica:pertcast:BatchedPredictor" in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found

    def memory(self) -> int:
        """Return the bytes that all processes hold for themselves."""
        held = 0
        for process in self.descendants():
            try:
                held += process.memory_full_info().uss
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return held

    def left_over(self) -> list[psutil.Process]:
        return [process for process in self.seen.values() if process.is_running()]

    def end(self, number: int, *, group: bool = False) -> int:
        """Send a signal and return the exit code."""
        self.descendants()
        (os.killpg if group else os.kill)(self.process.pid, number)
        return self.process.wait(timeout=60)


@contextmanager
def started(bundle: Path, folder: Path, settings: str = "") -> Iterator[Server]:
    server = Server(bundle, folder, settings)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()
        for process in server.left_over():
            process.kill()


@pytest.fixture
def server(tiny_bundle: Path, tmp_path: Path) -> Iterator[Server]:
    with started(tiny_bundle, tmp_path) as server:
        yield server


class Load(threading.Thread):
    """Sends requests of 48 conditions from `clients` at once, one after the other, until told to stop."""

    def __init__(self, url: str, clients: int) -> None:
        super().__init__(daemon=True)
        self.url, self.clients = url, clients
        self.over = threading.Event()
        self.answers: list[tuple[int, bytes]] = []

    def _send(self, client: httpx.Client) -> None:
        while not self.over.is_set():
            answer = client.post("/v1/predict", json={"conditions": CONDITIONS})
            self.answers.append((answer.status_code, answer.content))

    def run(self) -> None:
        limits = httpx.Limits(max_connections=self.clients)
        with (
            httpx.Client(base_url=self.url, timeout=120, limits=limits) as client,
            ThreadPoolExecutor(self.clients) as pool,
        ):
            for sent in [pool.submit(self._send, client) for _ in range(self.clients)]:
                sent.result()

    def has_answers(self, count: int) -> bool:
        return len(self.answers) >= count

    def stop(self) -> dict[int, int]:
        """Return how many answers had which status."""
        self.over.set()
        self.join(120)
        return dict(Counter(status for status, _ in self.answers))


def assert_ended_cleanly(server: Server) -> None:
    assert wait_for(lambda: not server.left_over(), 10), server.left_over()
    assert "Traceback" not in server.err.read_text()


def assert_said_only_its_own_lines(server: Server) -> None:
    said = [*server.out.read_text().splitlines(), *server.err.read_text().splitlines()]
    known = {"page", "reference", "ready", "starting", "stopping", *STOPPED}
    assert {line.split(":")[0] for line in said} <= known
    if server.out.read_text():
        assert server.out.read_text().splitlines()[-1].startswith("ready: ")


def test_replicas_follow_the_load_and_one_that_is_killed_costs_no_request(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    with started(tiny_bundle, tmp_path, "predictor: {downscale_delay_s: 10}") as server:
        url = server.url
        assert len(server.replicas()) == 1
        load = Load(url, clients=24)
        load.start()
        assert wait_for(lambda: len(server.replicas()) == 2, 120), "no second replica under load"
        time.sleep(3)
        first, second = server.replicas()
        for victim in (first, second):
            enough = len(load.answers) + 50
            victim.kill()
            assert wait_for(partial(load.has_answers, enough), 120), "no answers after a death"
        assert wait_for(lambda: len(server.replicas()) == 2, 120), "no new replica for a dead one"
        answered = load.stop()
        assert answered.keys() == {200}
        assert len({content for _, content in load.answers}) == 1, "one request, two answers"
        assert wait_for(lambda: len(server.replicas()) == 1, 120), "the second replica stayed without load"
        assert httpx.post(f"{url}/v1/predict", json={"conditions": CONDITIONS}).content == load.answers[0][1]

        assert server.end(signal.SIGTERM) == 0
        assert_ended_cleanly(server)


ONE_REPLICA = """
predictor: {max_replicas: 1, max_ongoing_requests: 16, max_queued_requests: 16}
"""


def test_a_bundle_is_swapped_under_load_without_a_failed_request(tiny_bundle: Path, tmp_path: Path) -> None:
    link = tmp_path / "served"
    link.symlink_to(tiny_bundle)
    bundles = [tiny_bundle, *(changed_copy(tiny_bundle, tmp_path / f"b{i}", 1.5 + i) for i in range(3))]
    versions = [Predictor.from_bundle(bundle).bundle.content_hash[:12] for bundle in bundles]
    with started(link, tmp_path) as server:
        url = server.url
        load = Load(url, clients=8)
        load.start()
        for bundle, version in zip(bundles[1:], versions[1:], strict=True):
            assert wait_for(partial(load.has_answers, len(load.answers) + 30), 120), "no answers"
            point(link, bundle)
            assert wait_for(partial(serves, url, version), 60), f"{bundle} is not served"
        assert wait_for(partial(load.has_answers, len(load.answers) + 30), 120), "no answers"
        assert load.stop().keys() == {200}
        by_version: dict[str, set[bytes]] = {}
        for _, content in load.answers:
            by_version.setdefault(json.loads(content)["model"].partition("@")[2], set()).add(content)
        assert by_version.keys() == set(versions)
        assert {len(contents) for contents in by_version.values()} == {1}, "one version, two answers"
        assert server.end(signal.SIGTERM) == 0


def serves(url: str, version: str) -> bool:
    return bool(httpx.get(f"{url}/v1/models").json()[0]["version"] == version)


def test_overload_is_refused_with_the_time_to_wait_and_memory_stays_bounded(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    with started(tiny_bundle, tmp_path, ONE_REPLICA) as server:
        url = server.url
        warm = Load(url, clients=24)
        warm.start()
        assert wait_for(partial(warm.has_answers, 200), 120)
        warm.stop()
        before = server.memory()
        load = Load(url, clients=128)
        load.start()
        held = []
        for _ in range(10):
            time.sleep(2)
            held.append(server.memory())
        answered = load.stop()
        assert answered.keys() == {200, 503}
        assert answered[200] > 100
        assert max(held) - before < 200 << 20, f"{before >> 20} MB, then {[each >> 20 for each in held]} MB"
        assert httpx.post(f"{url}/v1/predict", json={"conditions": CONDITIONS}).status_code == 200


def test_replicas_scale_to_none_and_the_next_request_brings_one_back(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    settings = "predictor: {min_replicas: 0, max_replicas: 1, downscale_delay_s: 2}"
    with started(tiny_bundle, tmp_path, settings) as server:
        url = server.url
        first = httpx.post(f"{url}/v1/predict", json={"conditions": CONDITIONS}, timeout=60)
        assert wait_for(lambda: not server.replicas(), 120), "the replica stayed without load"
        assert httpx.get(f"{url}/v1/models").status_code == 200
        assert httpx.get(f"{url}/v1/health/ready").status_code == 200
        assert not server.replicas(), "a probe is no load"
        again = httpx.post(f"{url}/v1/predict", json={"conditions": CONDITIONS}, timeout=60)
        assert (again.status_code, again.content) == (200, first.content)


def test_an_interrupt_at_the_keyboard_reaches_all_processes_and_ends_cleanly(server: Server) -> None:
    url = server.url
    assert server.end(signal.SIGINT, group=True) == 0
    assert_ended_cleanly(server)
    assert_said_only_its_own_lines(server)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/v1/health/live")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_that_is_still_starting_can_be_interrupted(server: Server, number: Any) -> None:
    assert wait_for(lambda: bool(server.descendants()), 120), server.err.read_text()
    time.sleep(1)
    assert server.end(number) == 130
    assert server.out.read_text() == ""
    assert_ended_cleanly(server)
    assert_said_only_its_own_lines(server)
