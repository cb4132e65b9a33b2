"""A whole server over tiny files: model, libraries, gene sets, screens, the page; on a socket or not."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import analysis_toys
import anyio
import screen_page_toys as screen_toys
import uvicorn
from fastapi import FastAPI
from pertcast_serve.access.caller import LOCAL
from pertcast_serve.analysis.service import AnalysisService
from pertcast_serve.api import make_api
from pertcast_serve.config import AccessSettings, Limits, ScreenSettings, ServeConfig
from pertcast_serve.page.pages import Pages
from pertcast_serve.schemas.screens import ScreenRequest
from pertcast_serve.screens.jobs import JobState
from pertcast_serve.screens.service import ScreenService
from pertcast_serve.services import Services

CONDITION: dict[str, Any] = analysis_toys.CONDITION


class StillJobs:
    """Jobs that wait for ever: a screen is submitted, and nothing is computed."""

    def __init__(self) -> None:
        self.states: dict[str, JobState] = {}

    def submit(self, job: str, argv: Sequence[str]) -> None:
        self.states.setdefault(job, "queued")

    def status(self, job: str) -> JobState:
        return self.states.get(job, "unknown")

    def stop(self, job: str) -> None:
        if job in self.states:
            self.states[job] = "stopped"

    def log_tail(self, job: str) -> str:
        return ""


def config_of(
    bundle: Path, folder: Path, limits: Limits | None = None, access: AccessSettings | None = None
) -> ServeConfig:
    """Return the settings of a server that has everything, with its files in `folder`."""
    if not (folder / "sets.gmt").exists():
        analysis_toys.write_files(folder)
    return ServeConfig(
        models={"default": bundle},
        libraries={"first": folder / "screen", "l1000": folder / "store"},
        gene_sets={"own": folder / "sets.gmt"},
        screens=ScreenSettings(folder=folder / "screens"),
        limits=limits or Limits(),
        access=access or AccessSettings(),
    )


def whole_api(config: ServeConfig, bundle: Path, jobs: Any) -> tuple[FastAPI, ScreenService]:
    """Return a server with all of its subjects; `jobs` run its screens."""
    client = screen_toys.LocalPredictor(config, bundle)
    analysis = AnalysisService(config, client)
    screens = ScreenService(config, jobs, client.registry, screen_toys.ESTIMATES)
    page = Pages(client, analysis, screens, config)
    return make_api(Services(client, analysis, screens, page), config), screens


def finish_screen(config: ServeConfig, bundle: Path, **fields: Any) -> str:
    """Run a screen to its end, and return its id; servers over the same folder find it."""
    client = screen_toys.LocalPredictor(config, bundle)
    service = ScreenService(config, screen_toys.JobsHere(), client.registry, screen_toys.ESTIMATES)
    request = ScreenRequest.model_validate({"kind": "compounds", **fields})
    screen = anyio.run(partial(service.submit, request, LOCAL))
    assert screen.state == "finished", screen
    return str(screen.id)


class Served:
    """A server in a thread of this process that can be stopped and started again at the same address."""

    def __init__(self, api: Any) -> None:
        self.api = api
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        config = uvicorn.Config(
            self.api, host="127.0.0.1", port=self.port, log_level="critical", timeout_graceful_shutdown=1
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        deadline = time.monotonic() + 20
        while not self.server.started:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.01)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)


@contextmanager
def served(api: Any) -> Iterator[Served]:
    """Serve an ASGI application on loopback while the block runs."""
    server = Served(api)
    server.start()
    try:
        yield server
    finally:
        server.stop()
