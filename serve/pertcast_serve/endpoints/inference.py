"""The Open Inference Protocol (v2) over the predictor: what its clients ask, and errors as it writes them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final

from fastapi import APIRouter, FastAPI, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pertcast import __version__
from starlette.exceptions import HTTPException

from pertcast_serve.access.caller import Forbidden, requires
from pertcast_serve.config import ServeConfig
from pertcast_serve.endpoints.predict import require_within
from pertcast_serve.endpoints.problem_schemas import PROBLEMS
from pertcast_serve.metrics import observe_predict_latency
from pertcast_serve.negotiation import JSON
from pertcast_serve.prediction.tensors import (
    BadTensors,
    failed_row,
    infer_body,
    input_tensors,
    output_tensors,
    predict_request,
    wanted_outputs,
)
from pertcast_serve.problems import RETRY_AFTER_S, Refused, Unavailable, not_now, not_permitted, or_refused
from pertcast_serve.schemas.inference import (
    InferenceError,
    InferRequest,
    InferResponse,
    Live,
    ModelMetadata,
    ModelReady,
    Ready,
    ServerMetadata,
)
from pertcast_serve.services import PredictorClient, Services

Name = Annotated[str, Path(max_length=200, description="Name of a served model.")]
Version = Annotated[str, Path(max_length=200, description="One that the model's metadata lists.")]

_TEXTS: Final = {
    400: "The tensors do not say conditions that can be predicted, with the remedy",
    401: "No valid key",
    403: "The key lacks the scope",
    404: "There is no such model",
    413: "Body too large",
    429: "Too many requests of this key",
    503: "Overloaded or not ready; retry later",
}


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe errors: ours as the protocol writes them; those of the way to us as problems."""
    ours = {JSON: {"schema": InferenceError.model_json_schema()}}
    return {
        status: {
            "content": ours | (PROBLEMS[status]["content"] if status in PROBLEMS else {}),
            "description": _TEXTS[status],
        }
        for status in statuses
    }


class InferenceRoute(APIRoute):
    """A route whose errors are `{"error": "..."}`, as the protocol demands."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        answer = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await answer(request)
            except (
                RequestValidationError,
                BadTensors,
                Refused,
                Forbidden,
                Unavailable,
                HTTPException,
            ) as error:
                return _error_response(error)

        return answered


def _error_response(error: Exception) -> JSONResponse:
    status, text, headers = 400, str(error), {}
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        text = f"{field}: {first['msg']}. See /openapi.json for the schema."
    elif isinstance(error, Refused):
        status, text = error.problem.status, error.problem.detail
        # The protocol knows no 422.
        status = 400 if status == 422 else status
    elif isinstance(error, Forbidden):
        status, text = 403, not_permitted(error.scope).detail
    elif isinstance(error, Unavailable):
        status, text = 503, not_now(error).detail
    elif isinstance(error, HTTPException):
        status, text, headers = (
            error.status_code,
            f"{error.detail}.".replace("..", "."),
            dict(error.headers or {}),
        )
    if status in (429, 503):
        headers.setdefault("Retry-After", str(RETRY_AFTER_S))
    printable = text[:2000].encode("utf-8", "backslashreplace").decode()
    return JSONResponse({"error": printable}, status, headers=headers)


def add_routes(api: FastAPI, services: Services, config: ServeConfig) -> None:
    """Add the paths of this subject."""
    router = APIRouter(route_class=InferenceRoute)
    _add_server(router, services.predictor)
    _add_models(router, services.predictor)
    _add_infer(router, services.predictor, config)
    api.include_router(router, tags=["Open Inference Protocol"])


def _add_server(router: APIRouter, predictor: PredictorClient) -> None:
    async def server_metadata() -> ServerMetadata:
        """Return the server's name and version; it offers no extension, so tensors travel as JSON."""
        return ServerMetadata(name="pertcast", version=__version__, extensions=[])

    async def live() -> Live:
        """Answer while the server process runs."""
        return Live(live=True)

    async def ready() -> Ready:
        """Answer once weights are loaded and a warm-up ran; 503 before."""
        await predictor.check()
        return Ready(ready=True)

    router.get("/v2", responses=_errors(401, 403, 429, 503), dependencies=[requires("predict")])(
        server_metadata
    )
    router.get("/v2/health/live")(live)
    router.get("/v2/health/ready", responses=_errors(503))(ready)


def _add_models(router: APIRouter, predictor: PredictorClient) -> None:
    async def described(model: str) -> ModelMetadata:
        card = or_refused(await predictor.card(model))
        metadata = or_refused(await predictor.metadata(model))
        return ModelMetadata(
            name=card.id,
            versions=[card.version],
            platform=f"pertcast_{card.family}",
            inputs=input_tensors(),
            outputs=output_tensors(len(metadata.genes)),
        )

    async def is_ready(model: str) -> ModelReady:
        name = or_refused(await predictor.card(model)).id
        await predictor.check()
        return ModelReady(name=name, ready=True)

    async def model_metadata(model: Name) -> ModelMetadata:
        """Return a model's version of now, and its tensors."""
        return await described(model)

    async def version_metadata(model: Name, version: Version) -> ModelMetadata:
        """Return the tensors of one version of a model."""
        return await described(_versioned(model, version))

    async def model_ready(model: Name) -> ModelReady:
        """Answer once a model can predict."""
        return await is_ready(model)

    async def version_ready(model: Name, version: Version) -> ModelReady:
        """Answer once one version of a model can predict."""
        return await is_ready(_versioned(model, version))

    options: dict[str, Any] = {
        "responses": _errors(400, 401, 403, 404, 429, 503),
        "dependencies": [requires("predict")],
    }
    router.get("/v2/models/{model}", **options)(model_metadata)
    router.get("/v2/models/{model}/versions/{version}", **options)(version_metadata)
    router.get("/v2/models/{model}/ready", **options)(model_ready)
    router.get("/v2/models/{model}/versions/{version}/ready", **options)(version_ready)


def _add_infer(router: APIRouter, predictor: PredictorClient, config: ServeConfig) -> None:
    async def inferred(request: Request, asked: InferRequest, model: str) -> Response:
        wanted = predict_request(asked, model)
        require_within(config.limits, wanted)
        request.scope.get("audit", {}).update(model=model, rows=len(wanted.conditions))
        began = time.perf_counter()
        found = or_refused(await predictor.profiles(wanted))
        observe_predict_latency(found.head.model.partition("@")[0], time.perf_counter() - began)
        if found.head.errors:
            raise BadTensors(failed_row(found.head.errors[0]))
        outputs = wanted_outputs(asked, has_sd=found.sd is not None)
        # Writing the digits of many profiles takes too long for the event loop.
        return Response(await asyncio.to_thread(infer_body, asked, found, outputs), media_type=JSON)

    async def infer(request: Request, model: Name, body: InferRequest) -> Response:
        """Predict conditions that are sent as tensors: all, or an error that names the first bad one."""
        return await inferred(request, body, model)

    async def version_infer(request: Request, model: Name, version: Version, body: InferRequest) -> Response:
        """Predict conditions with one version of a model."""
        return await inferred(request, body, _versioned(model, version))

    options: dict[str, Any] = {
        "response_model": InferResponse,
        "responses": _errors(400, 401, 403, 404, 413, 429, 503),
        "dependencies": [requires("predict")],
    }
    router.post("/v2/models/{model}/infer", **options)(infer)
    router.post("/v2/models/{model}/versions/{version}/infer", **options)(version_infer)


def _versioned(model: str, version: str) -> str:
    """Return what the registry calls a version."""
    return f"{model}@{version}"
