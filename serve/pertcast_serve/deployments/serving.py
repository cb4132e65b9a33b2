"""Ray Serve deployments: an ingress without weights, and an autoscaled, batched predictor."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from pertcast import __version__
from pertcast.predictor import Predictor
from pertcast.training.bundle import find_bundle
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from pertcast_serve.api import make_api
from pertcast_serve.config import ServeConfig
from pertcast_serve.prediction.service import BundleService
from pertcast_serve.problems import Unavailable
from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.models import Metadata
from pertcast_serve.schemas.predict import PredictRequest
from pertcast_serve.screens.service import ScreenService
from pertcast_serve.services import Services

log = logging.getLogger(__name__)

TRIES_ON_DEAD_REPLICA = 5
_KEPT_BATCH_SIZES = 10_000


def _conditions_of(requests: Sequence[PredictRequest]) -> int:
    """Return the size of a batch as its limit counts it."""
    return sum(len(request.conditions) for request in requests)


@serve.deployment
class BatchedPredictor:
    """Holds one bundle; requests that wait together are predicted together.

    A replica counts as healthy only after the weights are loaded and one prediction ran.
    """

    def __init__(
        self,
        config: ServeConfig,
    ) -> None:
        (name, path), *_ = config.models.items()
        settings = config.predictor
        bundle = Predictor.from_bundle(find_bundle(path), settings.device)
        self._service = BundleService(bundle, settings.rows_per_pass[-1], name)
        self._limits = {name: float(value) for name, value in config.limits.model_dump().items()}
        self._service.warm_up()
        self._batch_sizes: list[int] = []
        self._predict.set_max_batch_size(settings.max_batch_conditions)  # type: ignore[attr-defined]
        self._predict.set_batch_wait_timeout_s(settings.batch_wait_s)  # type: ignore[attr-defined]

    def _answer(self, requests: Sequence[PredictRequest]) -> list[bytes | Problem]:
        answers = self._service.answer(requests)
        return [answer if isinstance(answer, Problem) else answer.to_json() for answer in answers]

    @serve.batch(max_batch_size=256, batch_wait_timeout_s=0.005, batch_size_fn=_conditions_of)
    async def _predict(self, requests: list[PredictRequest]) -> list[bytes | Problem]:
        self._batch_sizes.append(len(requests))
        del self._batch_sizes[:-_KEPT_BATCH_SIZES]
        # Not in a thread: it would compete with this loop for the interpreter, which starves the next batch.
        return self._answer(requests)

    async def predict(self, request: PredictRequest) -> bytes | Problem:
        """Return the answer as JSON, or the problem that concerns this request alone."""
        answer: bytes | Problem = await self._predict(request)  # type: ignore[arg-type, assignment]
        return answer

    async def metadata(self) -> Metadata:
        """Return what is served."""
        return self._service.metadata(__version__, self._limits)

    async def check(self) -> None:
        """Return: a replica that can be asked has loaded its weights and run its warm-up."""

    async def batch_sizes(self) -> list[int]:
        """Return the sizes (in requests) of the batches since this was last asked, oldest first."""
        sizes, self._batch_sizes = self._batch_sizes, []
        return sizes


class ReplicaClient:
    """Calls the predictor's replicas; what a dying replica dropped is sent again.

    Parameters
    ----------
    predictor
        Handle of the deployment.
    """

    def __init__(self, predictor: DeploymentHandle[Any]) -> None:
        self._predictor = predictor
        self._metadata: Metadata | None = None

    async def _call(self, method: str, *arguments: Any) -> Any:
        for attempt in range(TRIES_ON_DEAD_REPLICA):
            try:
                return await getattr(self._predictor, method).remote(*arguments)
            except RayActorError:
                log.warning("a replica died", extra={"method": method, "attempt": attempt + 1})
                await asyncio.sleep(0.1 * 2**attempt)
            except BackPressureError as error:
                raise Unavailable("All replicas are busy.") from error
            except RayServeException as error:
                raise Unavailable("No replica can be reached.") from error
        raise Unavailable("The predictor's replicas keep dying; see the server's log.")

    async def predict(self, request: PredictRequest, media_type: str) -> bytes | Problem:
        """Return the body of an answer, or why the request is refused."""
        answer: bytes | Problem = await self._call("predict", request)
        return answer

    async def metadata(self, model: str | None) -> Metadata:
        """Return what is served; asked for once."""
        if self._metadata is None:
            self._metadata = await self._call("metadata")
        return self._metadata

    async def check(self) -> None:
        """Return once a replica has loaded its weights and run its warm-up."""
        await self._call("check")


@serve.deployment
@serve.ingress()
class Ingress:
    """Validates requests and hands them to the predictor.

    Parameters
    ----------
    predictor
        Handle of the predictor.
    config
        Settings of the server.
    """

    def __init__(self, predictor: DeploymentHandle[Any], config: ServeConfig) -> None:
        self._client = ReplicaClient(predictor)
        self._config = config

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the HTTP interface; Ray Serve calls this in the replica, after the constructor."""
        services = Services(self._client, analysis=None, screens=ScreenService(), page=None)  # type: ignore[arg-type]
        return make_api(services, self._config)
