"""The Ray Jobs API of one head for tests, and a kubectl whose port-forward leads to it.

Everything but `port-forward` goes to the real kubectl. A forwarding can be cut: its process is killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

TOKEN = "5" * 64
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")

KUBECTL = """#!{python} -SE
import asyncio, json, os, pathlib, sys

if "port-forward" not in sys.argv:
    os.execv({real!r}, [{real!r}, *sys.argv[1:]])
folder = pathlib.Path({folder!r})
service = sys.argv[2].removeprefix("service/")
ports = json.loads((folder / "services.json").read_text())
if service not in ports:
    sys.exit(f'Error from server (NotFound): services "{{service}}" not found')

async def pump(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()

async def relay(reader, writer):
    there = await asyncio.open_connection("127.0.0.1", ports[service])
    await asyncio.gather(pump(reader, there[1]), pump(there[0], writer), return_exceptions=True)

async def serve():
    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    (folder / f"{{os.getpid()}}.forward").touch()
    print(f"Forwarding from 127.0.0.1:{{server.sockets[0].getsockname()[1]}} -> 8265", flush=True)
    await server.serve_forever()

asyncio.run(serve())
"""


@dataclass
class RayJob:
    """One job of the head."""

    entrypoint: str
    status: str = "RUNNING"
    text: str = ""
    code: int | None = None


@dataclass
class RayHead:
    """The head's jobs by id, and how it is reached.

    Attributes
    ----------
    jobs
        Id -> job.
    folder
        Holds `bin/kubectl`, which goes first on the PATH.
    port
        Where the head listens.
    """

    folder: Path
    jobs: dict[str, RayJob] = field(default_factory=dict)
    port: int = 0

    def serve_as(self, *services: str) -> None:
        """Let port-forward find the head behind these services, and behind no other."""
        (self.folder / "services.json").write_text(json.dumps(dict.fromkeys(services, self.port)))

    def forwardings(self) -> list[int]:
        """Return the process ids of the forwardings that stand."""
        found = [int(path.stem) for path in self.folder.glob("*.forward")]
        return [pid for pid in found if Path(f"/proc/{pid}/cmdline").exists()]

    def cut(self) -> None:
        """Kill the forwardings, as a lost connection does."""
        for pid in self.forwardings():
            os.kill(pid, signal.SIGKILL)


def _details(head: RayHead, job_id: str) -> dict[str, Any]:
    job = head.jobs[job_id]
    return {
        "type": "SUBMISSION", "submission_id": job_id, "status": job.status, "entrypoint": job.entrypoint,
        "message": "", "start_time": 1, "driver_exit_code": job.code,
    }  # fmt: skip


def _application(head: RayHead) -> web.Application:
    routes = web.RouteTableDef()

    @web.middleware
    async def token(request: web.Request, handler: Any) -> Any:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.Response(status=401, text="Unauthorized: Missing or wrong authentication token")
        if request.match_info.get("job", "") not in {"", *head.jobs}:
            return web.Response(status=404, text="Job does not exist")
        return await handler(request)

    @routes.get("/api/version")
    async def version(request: web.Request) -> web.Response:
        return web.json_response({"version": "4", "ray_version": "2.60.0", "ray_commit": "c"})

    @routes.get("/api/jobs/{job}")
    async def details(request: web.Request) -> web.Response:
        return web.json_response(_details(head, request.match_info["job"]))

    @routes.get("/api/jobs/{job}/logs")
    async def logs(request: web.Request) -> web.Response:
        return web.json_response({"logs": head.jobs[request.match_info["job"]].text})

    @routes.post("/api/jobs/{job}/stop")
    async def stop(request: web.Request) -> web.Response:
        job = head.jobs[request.match_info["job"]]
        was_running = job.status not in ENDED
        job.status = "STOPPED"
        return web.json_response({"stopped": was_running})

    @routes.get("/api/jobs/{job}/logs/tail")
    async def tail(request: web.Request) -> web.WebSocketResponse:
        job = head.jobs[request.match_info["job"]]
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        sent = 0
        while True:
            ended = job.status in ENDED
            if len(job.text) > sent:
                new, sent = job.text[sent:], len(job.text)
                await socket.send_str(new)
            if ended:
                break
            await asyncio.sleep(0.02)
        await socket.close()
        return socket

    application = web.Application(middlewares=[token])
    application.add_routes(routes)
    return application


@contextmanager
def ray_head(folder: Path) -> Iterator[RayHead]:
    """Serve the Jobs API of a head without jobs."""
    real = shutil.which("kubectl")
    assert real is not None
    programs = folder / "bin"
    programs.mkdir(parents=True)
    program = programs / "kubectl"
    program.write_text(KUBECTL.format(python=sys.executable, real=real, folder=str(folder)))
    program.chmod(0o755)
    head = RayHead(folder)
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(_application(head), shutdown_timeout=0.1)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> int:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return int(runner.addresses[0][1])

    head.port = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    head.serve_as()
    try:
        yield head
    finally:
        head.cut()
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def wait_for(condition: Any, what: str, seconds: float = 120.0) -> None:
    """Wait until a condition holds; fails the test where it does not come to hold."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.02)
