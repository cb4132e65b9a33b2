"""Probes, versions, models and the names they know."""

from __future__ import annotations

from fastapi import FastAPI
from pertcast import __version__

from pertcast_serve.config import ServeConfig
from pertcast_serve.endpoints.problem_schemas import PROBLEMS, or_problem
from pertcast_serve.schemas.base import Health, Version
from pertcast_serve.schemas.models import Metadata
from pertcast_serve.services import Services


def add_routes(api: FastAPI, services: Services, config: ServeConfig) -> None:
    """Add the paths of this subject."""

    async def live() -> Health:
        """Answer while the server process runs."""
        return Health(status="live")

    async def ready() -> Health:
        """Answer once weights are loaded and one warm-up prediction ran."""
        await services.predictor.check()
        return Health(status="ready")

    async def version() -> Version:
        """Return the versions of the server and its interface."""
        return Version(pertcast=__version__)

    async def metadata(model: str | None = None) -> Metadata:
        """Return the model, its gene space, what it accepts and its held-out metrics."""
        return or_problem(await services.predictor.metadata(model))

    api.get("/v1/health/live")(live)
    api.get("/v1/health/ready", responses={503: PROBLEMS[503]})(ready)
    api.get("/v1/version")(version)
    api.get("/v1/metadata", responses=PROBLEMS)(metadata)
