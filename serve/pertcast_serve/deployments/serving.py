"""Ray Serve deployments: an ingress without weights, and an autoscaled, batched predictor."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from pertcast import __version__
from pertcast.predictor import Predictor
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from pertcast_serve.api import make_api
from pertcast_serve.prediction import BundleService
from pertcast_serve.problems import Unavailable
from pertcast_serve.schemas import Metadata, PredictRequest, Problem

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
        bundle_path: str,
        device: str,
        rows_per_pass: int,
        max_batch_conditions: int,
        batch_wait_s: float,
    ) -> None:
        self._service = BundleService(Predictor.from_bundle(bundle_path, device), rows_per_pass)
        self._service.warm_up()
        self._batch_sizes: list[int] = []
        self._predict.set_max_batch_size(max_batch_conditions)  # type: ignore[attr-defined]
        self._predict.set_batch_wait_timeout_s(batch_wait_s)  # type: ignore[attr-defined]

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
        return self._service.metadata(__version__)

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

    async def predict(self, request: PredictRequest) -> bytes | Problem:
        """Return the body of an answer, or why the request is refused."""
        answer: bytes | Problem = await self._call("predict", request)
        return answer

    async def metadata(self) -> Metadata:
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
    """

    def __init__(self, predictor: DeploymentHandle[Any]) -> None:
        self._client = ReplicaClient(predictor)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the HTTP interface; Ray Serve calls this in the replica, after the constructor."""
        return make_api(self._client)
