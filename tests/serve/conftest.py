"""The interface over a real bundle in this process, called without a socket and without Ray."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from fastapi import FastAPI
from local_predictor import LocalPredictor
from pertcast_serve.api import make_api
from pertcast_serve.config import ServeConfig
from pertcast_serve.services import Services

Call = Callable[..., httpx.Response]


def call_of(api: FastAPI) -> Call:
    """Return what calls `api` once: (method, path, **options of httpx) -> answer."""

    def call(method: str, path: str, **options: Any) -> httpx.Response:
        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(app=api, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return await client.request(method, path, **options)

        return anyio.run(once)

    return call


@pytest.fixture(scope="session")
def call_api() -> Callable[[FastAPI], Call]:
    return call_of


@pytest.fixture(scope="session")
def client(tiny_bundle: Path, serve_config: ServeConfig) -> Any:
    return LocalPredictor(serve_config, tiny_bundle)


@pytest.fixture(scope="session")
def serve_config(tiny_bundle: Path) -> ServeConfig:
    return ServeConfig(models={"default": tiny_bundle})


@pytest.fixture(scope="session")
def call(client: Any, serve_config: ServeConfig) -> Call:
    services = Services(predictor=client, analysis=None, screens=None, page=None)  # type: ignore[arg-type]
    return call_of(make_api(services, serve_config))
