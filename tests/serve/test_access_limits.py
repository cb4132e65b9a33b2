"""Limits a caller: requests in flight, and the time until an answer begins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI, Response
from fastapi.responses import StreamingResponse
from pertcast_serve.access.install import install_access
from pertcast_serve.access.keys import change_keys, new_key
from pertcast_serve.config import ServeConfig
from pertcast_serve.problems import install_handlers


class Slow:
    """An interface whose answers wait until they are released."""

    def __init__(self, keys: Path | None, **limits: float) -> None:
        self.release = asyncio.Event()
        self.was_cancelled = False
        access = {} if keys is None else {"keys": keys}
        config = ServeConfig.model_validate({"models": {"m": "x"}, "access": access, "limits": limits})
        api = FastAPI()
        install_handlers(api)
        api.get("/slow")(self.slow)
        api.get("/stream")(self.stream)
        api.get("/own")(self.own)
        api.get("/v1/version")(self.slow)
        install_access(api, config)
        transport = httpx.ASGITransport(api, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")

    async def slow(self) -> str:
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        return "done"

    async def own(self) -> None:
        raise TimeoutError("of a disk")

    async def stream(self) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            for _ in range(4):
                yield b"part "
                await asyncio.sleep(0.05)

        return StreamingResponse(parts(), media_type="text/event-stream")


def test_requests_of_one_key_beyond_the_limit_are_refused_and_those_of_another_are_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "keys.json"
    made = [new_key(name, ["predict"]) for name in ("Ada", "Grace")]
    change_keys(path, lambda before: tuple(key for _, key in made), may_create=True)
    ada, grace = ({"x-api-key": text} for text, _ in made)

    async def check() -> None:
        api = Slow(path, concurrent_requests=2)
        held = [asyncio.create_task(api.client.get("/slow", headers=ada)) for _ in range(2)]
        await asyncio.sleep(0.05)
        refused = await api.client.get("/slow", headers=ada)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert "2 requests of Ada" in refused.json()["detail"]
        assert "x-request-id" in refused.headers
        others = [asyncio.create_task(api.client.get("/slow", headers=grace)) for _ in range(2)]
        others += [asyncio.create_task(api.client.get("/v1/version")) for _ in range(3)]
        await asyncio.sleep(0.05)
        api.release.set()
        for task in (*held, *others):
            assert (await task).status_code == 200
        assert (await api.client.get("/slow", headers=ada)).status_code == 200

    asyncio.run(check())


def test_a_caller_who_leaves_gives_its_place_back() -> None:
    async def check() -> None:
        api = Slow(None, concurrent_requests=1)
        left = asyncio.create_task(api.client.get("/slow"))
        await asyncio.sleep(0.05)
        assert (await api.client.get("/slow")).status_code == 429
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        api.release.set()
        assert (await api.client.get("/slow")).status_code == 200

    asyncio.run(check())


def test_an_answer_that_does_not_begin_in_time_is_503_and_its_work_ends() -> None:
    async def check() -> None:
        api = Slow(None, request_s=0.1)
        answer = await api.client.get("/slow")
        assert answer.status_code == 503
        assert "retry-after" in answer.headers
        assert "0.1 s" in answer.json()["detail"] and "/v1/screens" in answer.json()["detail"]
        assert api.was_cancelled
        streamed = await api.client.get("/stream")
        assert (streamed.status_code, streamed.content) == (200, b"part " * 4)
        own: Any = await api.client.get("/own")
        assert own.status_code == 500

    asyncio.run(check())
