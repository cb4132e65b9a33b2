"""What one caller may have in flight, and how long an answer may take to begin."""

from __future__ import annotations

import asyncio
from collections import Counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pertcast_serve.access.caller import LOCAL, Caller
from pertcast_serve.access.paths import path_of
from pertcast_serve.problems import problem_response
from pertcast_serve.schemas.base import Problem


class CallerLimits:
    """ASGI middleware: 429 for a caller's requests beyond a number in flight. Each process counts its own.

    Parameters
    ----------
    app
        What is protected.
    concurrent_requests
        Requests of one caller in flight.
    """

    def __init__(self, app: ASGIApp, concurrent_requests: int) -> None:
        self._app = app
        self._most = concurrent_requests
        self._in_flight: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 429."""
        caller: Caller = scope.get("caller", LOCAL)
        # Those without a key share one name: one of them must not keep the probes of all from being answered.
        if scope["type"] != "http" or not caller.scopes:
            await self._app(scope, receive, send)
            return
        if self._in_flight[caller.id] >= self._most:
            detail = (
                f"{self._most} requests of {caller.name} are in flight. Wait for one to end; put more "
                "conditions into a request rather than sending more requests."
            )
            refused = Problem(title="Too many requests", status=429, detail=detail)
            await problem_response(refused)(scope, receive, send)
            return
        self._in_flight[caller.id] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._in_flight[caller.id] -= 1
            if not self._in_flight[caller.id]:
                del self._in_flight[caller.id]


class TimeLimit:
    """ASGI middleware: 503 where no answer begins in time. One that has begun, such as a stream, goes on.

    Parameters
    ----------
    app
        What is protected.
    seconds
        Longest time before an answer begins.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 503."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._seconds) as limit:

                async def begun(message: Message) -> None:
                    if message["type"] == "http.response.start" and not limit.expired():
                        limit.reschedule(None)
                    await send(message)

                await self._app(scope, receive, begun)
        except TimeoutError:
            if not limit.expired():
                raise
            await problem_response(self._problem(path_of(scope)))(scope, receive, send)

    def _problem(self, path: str) -> Problem:
        detail = (
            f"{path[:100]} took longer than {self._seconds:g} s. Ask for less at once, try again when the "
            "server is less busy, or run it as a screen (POST /v1/screens), which may take longer."
        )
        return Problem(title="Took too long", status=503, detail=detail)
