"""Ray Serve deployments: an ingress without weights, and an autoscaled, batched predictor."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from fastapi import FastAPI
from pertcast import __version__
from pertcast.errors import PertcastError
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.handle import DeploymentHandle
from starlette.exceptions import HTTPException

from pertcast_serve.prediction import BundleService
from pertcast_serve.problems import install_handlers
from pertcast_serve.schemas import Health, Metadata, PredictRequest, PredictResponse, Problem, Version

log = logging.getLogger(__name__)

TRIES_ON_DEAD_REPLICA = 4
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "content": {"application/problem+json": {}}, "description": text}
    for status, text in ((422, "Request refused, with the remedy"), (503, "Overloaded or not ready"))
}


@serve.deployment
class BatchedPredictor:
    """Holds one bundle; requests that wait together are predicted together.

    A replica counts as healthy only after the weights are loaded and one prediction ran.
    """

    def __init__(self, bundle_path: str, device: str, max_batch_size: int, batch_wait_s: float) -> None:
        self._service = BundleService(bundle_path, device)
        self._service.warm_up()
        self._batch_sizes: list[int] = []
        self._predict.set_max_batch_size(max_batch_size)  # type: ignore[attr-defined]
        self._predict.set_batch_wait_timeout_s(batch_wait_s)  # type: ignore[attr-defined]

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.005)
    async def _predict(self, requests: list[PredictRequest]) -> list[PredictResponse | PertcastError]:
        self._batch_sizes.append(len(requests))
        del self._batch_sizes[:-1000]
        return await asyncio.to_thread(self._service.predict, requests)

    async def predict(self, request: PredictRequest) -> PredictResponse | PertcastError:
        """Return the response, or the error that concerns this request alone."""
        answer: PredictResponse | PertcastError = await self._predict(request)  # type: ignore[arg-type, assignment]
        return answer

    async def metadata(self) -> Metadata:
        """Return what is served."""
        return self._service.metadata(__version__)

    async def batch_sizes(self) -> list[int]:
        """Return the sizes of the last batches (requests a batch), oldest first."""
        return list(self._batch_sizes)


def make_api() -> FastAPI:
    """Return the HTTP interface's frame: titles, error handlers, no remote assets."""
    api = FastAPI(
        title="Pertcast",
        version=__version__,
        description="Predicted responses of cells to drugs and genetic perturbations.",
        docs_url=None,
        redoc_url=None,
    )
    install_handlers(api)
    return api


api = make_api()


@serve.deployment
@serve.ingress(api)
class Ingress:
    """Validates requests, hands them to the predictor, and retries those a dying replica dropped."""

    def __init__(self, predictor: DeploymentHandle[Any]) -> None:
        self._predictor = predictor
        self._metadata: Metadata | None = None

    async def _call(self, method: str, *arguments: Any) -> Any:
        for attempt in range(TRIES_ON_DEAD_REPLICA):
            try:
                return await getattr(self._predictor, method).remote(*arguments)
            except RayActorError:
                log.warning("a replica died during %s; attempt %d", method, attempt + 1)
                await asyncio.sleep(0.1 * 2**attempt)
        raise HTTPException(503, "The predictor's replicas keep dying; see the server's log.")

    async def _described(self) -> Metadata:
        if self._metadata is None:
            self._metadata = await self._call("metadata")
        return self._metadata

    @api.get("/v1/health/live")
    async def live(self) -> Health:
        """Answer while the server process runs."""
        return Health(status="live")

    @api.get("/v1/health/ready", responses=PROBLEMS)
    async def ready(self) -> Health:
        """Answer once weights are loaded and one warm-up prediction ran."""
        await self._described()
        return Health(status="ready")

    @api.get("/v1/version")
    async def version(self) -> Version:
        """Return the versions of the server and its interface."""
        return Version(pertcast=__version__)

    @api.get("/v1/metadata", responses=PROBLEMS)
    async def metadata(self) -> Metadata:
        """Return the model, its gene space, what it accepts and its held-out metrics."""
        return await self._described()

    @api.post("/v1/predict", responses=PROBLEMS)
    async def predict(self, request: PredictRequest) -> PredictResponse:
        """Predict conditions; unknown names come back as errors with the nearest known ones."""
        answer = await self._call("predict", request)
        if isinstance(answer, PertcastError):
            raise answer
        return answer  # type: ignore[no-any-return]
