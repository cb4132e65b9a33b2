"""Screens of the server as real jobs of a real Ray, over real sockets: their whole life, kills, restarts."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import uvicorn
from fastapi import FastAPI
from pertcast_serve.access.install import install_access
from pertcast_serve.config import Limits, ScreenSettings, ServeConfig
from pertcast_serve.endpoints import screens as endpoints
from pertcast_serve.prediction.registry import ModelRegistry
from pertcast_serve.problems import install_handlers
from pertcast_serve.screens import service as screens_service
from pertcast_serve.screens.ray_jobs import RayJobs
from pertcast_serve.screens.service import ScreenService
from pertcast_serve.services import Services

pytestmark = [pytest.mark.acceptance, pytest.mark.ray]

DOSES = [float(dose) for dose in range(1, 51)]
BODY: dict[str, Any] = {"kind": "compounds", "pert_dose": DOSES, "pert_time": [6.0, 24.0]}
"""2,400 profiles: three shards."""
SLOW = {**BODY, "pert_time": [float(time) for time in range(1, 49)]}
"""57,600 profiles: a screen that is still at work when it is killed or cancelled."""
LIMITS = Limits(request_s=120)


def wait_for(condition: Callable[[], bool], seconds: float = 400.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


@contextmanager
def running(config: ServeConfig, jobs: RayJobs) -> Iterator[httpx.Client]:
    """Run the screens' interface on a socket for the length of the block."""
    service = ScreenService(config, jobs, ModelRegistry(config.models))
    api = FastAPI()
    services = Services(predictor=None, analysis=None, screens=service, page=None)  # type: ignore[arg-type]
    endpoints.add_routes(api, services, config)
    install_handlers(api)
    install_access(api, config)
    server = uvicorn.Server(uvicorn.Config(api, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=240) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> ServeConfig:
    folder = tmp_path_factory.mktemp("screens")
    return ServeConfig(
        models={"default": tiny_bundle}, screens=ScreenSettings(folder=folder / "kept"), limits=LIMITS
    )


@pytest.fixture(scope="module")
def jobs(ray_cluster: Any) -> RayJobs:
    return RayJobs(ray_cluster.dashboard_url)


@pytest.fixture
def client(config: ServeConfig, jobs: RayJobs) -> Iterator[httpx.Client]:
    with running(config, jobs) as client:
        yield client


def begun(client: httpx.Client, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    answer = client.post("/v1/screens", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


def followed(client: httpx.Client, identifier: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the events of a screen from now to its end, which must come within five minutes."""
    found, name, deadline = [], "", time.monotonic() + 300
    with client.stream("GET", f"/v1/screens/{identifier}/events") as answer:
        for line in answer.iter_lines():
            assert time.monotonic() < deadline, found[-1:]
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                found.append((name, json.loads(line.removeprefix("data: "))))
    return found


def processes_of(identifier: str) -> list[psutil.Process]:
    """Return the processes that compute a screen."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if any(f"/{identifier}/screen" in word for word in words):
            found.append(process)
    return found


def files_of(config: ServeConfig, identifier: str) -> dict[str, Any]:
    assert config.screens.folder is not None
    manifest = json.loads((config.screens.folder / identifier / "screen/manifest.json").read_text())
    files: dict[str, Any] = manifest["files"]
    return files


def has_shard(config: ServeConfig, identifier: str) -> bool:
    assert config.screens.folder is not None
    return any((config.screens.folder / identifier / "screen/.parts/records").glob("[0-9]*.json"))


def test_an_estimate_is_what_the_screen_then_has(client: httpx.Client) -> None:
    answer = client.post("/v1/screens/estimate", json=BODY)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["n_perturbations"], found["n_profiles"], found["n_refused"]) == (12, 2400, 0)
    assert found["seconds"] > 0
    assert found["bytes"] > 2400 * 24 * 2


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            {"rows": [{"pert_id": "drug-1"}, {"pert_id": "drug-99"}]},
            ["rows", "row 2", "drug-99", "skip_unknown"],
        ),
        ({"cell_iname": ["A37"]}, ["A375"]),
        ({"pert_time": [1e-5]}, ["pert_time"]),
        ({"up": ["GENE1"], "down": ["NOSUCH1"]}, ["up", "24 genes", "needed"]),
    ],
)
def test_what_the_command_refuses_is_refused_at_once_in_its_words_without_paths(
    client: httpx.Client, body: dict[str, Any], words: list[str]
) -> None:
    answer = client.post("/v1/screens", json={"kind": "compounds", **body})
    assert answer.status_code == 422, answer.text
    detail = answer.json()["detail"]
    assert [word for word in words if word not in detail] == []
    assert "/" not in detail.replace("/v1/", "")


def test_a_job_killed_with_kill_9_is_resumed_and_a_restart_keeps_all(
    config: ServeConfig, jobs: RayJobs
) -> None:
    with running(config, jobs) as client:
        whole = begun(client, BODY, **{"Idempotency-Key": "whole"})
        events = followed(client, whole["id"])
        assert [name for name, _ in events[:-1]] == ["progress"] * (len(events) - 1)
        assert events[-1][0] == "finished", events[-1]
        killed = begun(client, BODY)
        wait_for(lambda: has_shard(config, killed["id"]))
        for process in processes_of(killed["id"]):
            process.kill()
        wait_for(lambda: jobs.status(f"{killed['id']}-1") == "lost")
    with running(config, jobs) as client:
        # The watch of the new server submits it again.
        assert followed(client, killed["id"])[-1][0] == "finished"
        assert files_of(config, killed["id"]) == files_of(config, whole["id"])
        again = begun(client, BODY, **{"Idempotency-Key": "whole"})
        assert again["id"] == whole["id"]
        assert client.get("/v1/screens").json()["n_screens"] == 2


def test_a_screen_goes_on_while_no_server_runs(config: ServeConfig, jobs: RayJobs) -> None:
    with running(config, jobs) as client:
        screen = begun(client, BODY)
    wait_for(lambda: jobs.status(f"{screen['id']}-1") == "succeeded")
    with running(config, jobs) as client:
        assert client.get(f"/v1/screens/{screen['id']}").json()["state"] == "finished"


def test_cancelling_ends_the_processes_of_a_screen(
    client: httpx.Client, config: ServeConfig, jobs: RayJobs
) -> None:
    screen = begun(client, SLOW)
    wait_for(lambda: has_shard(config, screen["id"]))
    told = client.get(f"/v1/screens/{screen['id']}").json()
    assert told["state"] == "running"
    assert told["n_done"] >= 1024
    assert told["profiles_per_s"] > 0
    processes = processes_of(screen["id"])
    assert processes
    assert client.delete(f"/v1/screens/{screen['id']}").json()["state"] == "cancelled"
    assert psutil.wait_procs(processes, timeout=30)[1] == []
    assert jobs.status(f"{screen['id']}-1") == "stopped"
    assert followed(client, screen["id"])[-1][0] == "cancelled"


def test_a_screen_that_fails_later_says_what_its_command_said(
    client: httpx.Client, config: ServeConfig
) -> None:
    """What stands in the way comes after the estimate: the folder is taken by something else."""
    assert config.screens.folder is not None
    screen = begun(client, SLOW)
    out = config.screens.folder / screen["id"] / "screen"
    out.mkdir(exist_ok=True)
    (out / "note.txt").write_text("mine")
    name, told = followed(client, screen["id"])[-1]
    assert name == "failed"
    assert "is not empty" in told["message"]
    assert str(config.screens.folder) not in told["message"]


def test_a_client_that_goes_away_ends_the_looking_at_its_screen(
    client: httpx.Client, config: ServeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    following: list[int] = [0]
    follow = ScreenService._follow

    async def counted(self: ScreenService, *arguments: Any) -> Any:
        following[0] += 1
        try:
            async for screen in follow(self, *arguments):
                yield screen
        finally:
            following[0] -= 1

    monkeypatch.setattr(screens_service.ScreenService, "_follow", counted)
    screen = begun(client, SLOW)
    with client.stream("GET", f"/v1/screens/{screen['id']}/events") as answer:
        lines = answer.iter_lines()  # kept: without it the connection is closed after a line
        assert next(lines).startswith("retry: ")
        wait_for(lambda: following == [1], seconds=20)
    wait_for(lambda: following == [0], seconds=20)
    told = client.get(f"/v1/screens/{screen['id']}").json()["state"]
    assert told in {"queued", "running"}, "the looking ended with the screen"
    client.delete(f"/v1/screens/{screen['id']}")
