"""The Ray Jobs API of one head for tests, with the faults of a real one: lost answers, ids that are taken."""

from __future__ import annotations

import asyncio
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

TOKEN = "5" * 64
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass
class RayJob:
    """One job of the head."""

    entrypoint: str
    status: str = "RUNNING"
    text: str = ""
    code: int | None = None
    message: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    start: int = 1


@dataclass
class RayHead:
    """The head's jobs by id, and how it answers.

    Attributes
    ----------
    jobs
        Id -> job.
    asked
        Method and path of each request.
    lost_answers
        So many of the next submissions are taken, and their answers lost.
    cut_after_end
        So many of the requests after a job's end are cut.
    refusal
        Status and words with which submissions are refused.
    port
        Where the head listens.
    """

    jobs: dict[str, RayJob] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    lost_answers: int = 0
    cut_after_end: int = 0
    refusal: tuple[int, str] | None = None
    port: int = 0

    @property
    def address(self) -> str:
        """The address of the Jobs API."""
        return f"http://127.0.0.1:{self.port}"

    def takes(self, body: dict[str, Any]) -> tuple[int, str] | None:
        """Take a job; returns status and words of the server where it refuses."""
        if self.refusal is not None:
            return self.refusal
        name = body["submission_id"]
        if name in self.jobs:
            try:
                raise ValueError(f"Job with submission_id {name} already exists. Please use a different one.")
            except ValueError:
                said = traceback.format_exc()
            # The head puts the agent's traceback into one of its own.
            return 500, f"Traceback:\nRuntimeError: Request failed with status code 400: {said}.\n"
        self.jobs[name] = RayJob(body["entrypoint"], metadata=body["metadata"], start=len(self.jobs) + 1)
        return None


def _details(head: RayHead, job_id: str) -> dict[str, Any]:
    job = head.jobs[job_id]
    return {
        "type": "SUBMISSION", "submission_id": job_id, "status": job.status, "entrypoint": job.entrypoint,
        "message": job.message, "start_time": job.start, "driver_exit_code": job.code,
        "metadata": job.metadata,
    }  # fmt: skip


async def _tail(head: RayHead, request: web.Request) -> web.WebSocketResponse:
    """Send a job's output as it grows."""
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


def _application(head: RayHead) -> web.Application:
    routes = web.RouteTableDef()

    def cut(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    @web.middleware
    async def token(request: web.Request, handler: Any) -> Any:
        head.asked.append(f"{request.method} {request.path}")
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.Response(status=401, text="Unauthorized: Missing or wrong authentication token")
        if request.match_info.get("job", "") not in {"", *head.jobs}:
            return web.Response(status=404, text="Job x does not exist")
        if head.cut_after_end and any(job.status in ENDED for job in head.jobs.values()):
            head.cut_after_end -= 1
            return cut(request)
        return await handler(request)

    @routes.get("/api/version")
    async def version(request: web.Request) -> web.Response:
        return web.json_response({"version": "4", "ray_version": "2.60.0", "ray_commit": "c"})

    @routes.get("/api/jobs/")
    async def listed(request: web.Request) -> web.Response:
        return web.json_response([_details(head, job) for job in head.jobs])

    @routes.post("/api/jobs/")
    async def submit(request: web.Request) -> web.Response:
        body = await request.json()
        refusal = head.takes(body)
        if refusal is not None:
            return web.Response(status=refusal[0], text=refusal[1])
        if head.lost_answers:
            head.lost_answers -= 1
            return cut(request)
        return web.json_response({"submission_id": body["submission_id"], "job_id": None})

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
        return await _tail(head, request)

    @routes.get("/page/{any:.*}")
    async def page(request: web.Request) -> web.Response:
        return web.Response(text="<html>another server</html>", content_type="text/html")

    application = web.Application(middlewares=[token])
    application.add_routes(routes)
    return application


@contextmanager
def ray_head() -> Iterator[RayHead]:
    """Serve the Jobs API of a head without jobs."""
    head = RayHead()
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
    try:
        yield head
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def wait_for(condition: Any, what: str, seconds: float = 120.0) -> None:
    """Wait until a condition holds; fails the test where it does not come to hold."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.02)
