"""The interface over a real bundle in this process, called without a socket and without Ray."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from fastapi import FastAPI
from pertcast.predictor import Predictor
from pertcast_serve.api import make_api
from pertcast_serve.config import ServeConfig
from pertcast_serve.prediction.registered import RegisteredModels
from pertcast_serve.prediction.service import BundleService
from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.predict import PredictRequest
from pertcast_serve.services import PredictedProfiles, Services

Call = Callable[..., httpx.Response]


class LocalClient(RegisteredModels):
    """A predictor without replicas."""

    def __init__(self, service: BundleService, config: ServeConfig) -> None:
        super().__init__(config)
        self.service = service

    async def predict(self, request: PredictRequest, media_type: str) -> bytes | Problem:
        answer = self.service.answer([request])[0]
        return answer if isinstance(answer, Problem) else answer.body(media_type)

    async def profiles(self, request: PredictRequest) -> PredictedProfiles | Problem:
        answer = self.service.answer([request])[0]
        return answer if isinstance(answer, Problem) else answer.profiles()

    async def check(self) -> None:
        return None


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
def client(tiny_bundle: Path, serve_config: ServeConfig) -> LocalClient:
    return LocalClient(BundleService(Predictor.from_bundle(tiny_bundle)), serve_config)


@pytest.fixture(scope="session")
def serve_config(tiny_bundle: Path) -> ServeConfig:
    return ServeConfig(models={"default": tiny_bundle})


@pytest.fixture(scope="session")
def call(client: LocalClient, serve_config: ServeConfig) -> Call:
    services = Services(predictor=client, analysis=None, screens=None, page=None)  # type: ignore[arg-type]
    return call_of(make_api(services, serve_config))
