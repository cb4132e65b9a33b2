"""The HTTP interface as a FastAPI application over any predictor; it knows nothing of Ray."""

from __future__ import annotations

from typing import Any, Protocol

from fastapi import FastAPI, Response
from pertcast import __version__

from pertcast_serve.body_limit import BodyLimit
from pertcast_serve.problems import MEDIA_TYPE, install_handlers, problem_response
from pertcast_serve.schemas import (
    MAX_BODY_BYTES,
    Health,
    Metadata,
    PredictRequest,
    PredictResponse,
    Problem,
    Version,
)

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}, "description": text}
    for status, text in (
        (413, "Body too large"),
        (422, "Request refused, with the remedy"),
        (503, "Overloaded or not ready; retry later"),
    )
}


class PredictorClient(Protocol):
    """What the interface needs of a predictor, wherever it runs; all may raise `problems.Unavailable`."""

    async def predict(self, request: PredictRequest) -> bytes | Problem:
        """Return the body of an answer, or why the request is refused."""

    async def metadata(self) -> Metadata:
        """Return what is served."""

    async def check(self) -> None:
        """Return once a predictor with loaded weights that has run a warm-up is there."""


class Endpoints:
    """The handlers of all paths.

    Parameters
    ----------
    predictor
        Where predictions come from.
    """

    def __init__(self, predictor: PredictorClient) -> None:
        self._predictor = predictor

    async def live(self) -> Health:
        """Answer while the server process runs."""
        return Health(status="live")

    async def ready(self) -> Health:
        """Answer once weights are loaded and one warm-up prediction ran."""
        await self._predictor.check()
        return Health(status="ready")

    async def version(self) -> Version:
        """Return the versions of the server and its interface."""
        return Version(pertcast=__version__)

    async def metadata(self) -> Metadata:
        """Return the model, its gene space, what it accepts and its held-out metrics."""
        return await self._predictor.metadata()

    async def predict(self, request: PredictRequest) -> Response:
        """Predict conditions; unknown names come back as errors with the nearest known ones."""
        answer = await self._predictor.predict(request)
        if isinstance(answer, Problem):
            return problem_response(answer)
        return Response(answer, media_type="application/json")


def make_api(predictor: PredictorClient, max_body_bytes: int = MAX_BODY_BYTES) -> FastAPI:
    """Return the HTTP interface; its documents need no remote assets."""
    api = FastAPI(
        title="Pertcast",
        version=__version__,
        description="Predicted responses of cells to drugs and genetic perturbations.",
        docs_url=None,
        redoc_url=None,
    )
    endpoints = Endpoints(predictor)
    api.add_api_route("/v1/health/live", endpoints.live)
    api.add_api_route("/v1/health/ready", endpoints.ready, responses={503: PROBLEMS[503]})
    api.add_api_route("/v1/version", endpoints.version)
    api.add_api_route("/v1/metadata", endpoints.metadata, responses={503: PROBLEMS[503]})
    api.add_api_route(
        "/v1/predict",
        endpoints.predict,
        methods=["POST"],
        response_model=PredictResponse,
        responses=PROBLEMS,
    )
    install_handlers(api)
    api.add_middleware(BodyLimit, max_bytes=max_body_bytes)
    return api
