"""The predictor as the other deployments see it; it follows new versions of bundles."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ray.serve.handle import DeploymentHandle

from pertcast_serve.config import ServeConfig
from pertcast_serve.deployments.calls import ask_replicas
from pertcast_serve.deployments.predictor import CannotLoad
from pertcast_serve.prediction.registered import RegisteredModels
from pertcast_serve.prediction.registry import (
    LOOK_INTERVAL_S,
    ServedModel,
    version_gone,
)
from pertcast_serve.problems import Unavailable
from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.predict import PredictRequest
from pertcast_serve.services import PredictedProfiles

log = logging.getLogger(__name__)

_TRIES_ON_NEW_VERSION = 3

Found = TypeVar("Found")


class ReplicaClient(RegisteredModels):
    """Calls the predictor's replicas.

    Parameters
    ----------
    predictor
        Handle of the deployment.
    config
        Settings of the server.
    """

    def __init__(self, predictor: DeploymentHandle[Any], config: ServeConfig) -> None:
        super().__init__(config)
        self._predictor = predictor
        self._looking = asyncio.Lock()
        self._watch: asyncio.Task[None] | None = None
        self._has_been_ready = False

    async def _call(self, method: str, served: ServedModel, *arguments: Any) -> Any:
        handle = self._predictor.options(method_name=method, multiplexed_model_id=served.id)
        return await ask_replicas(handle, served, *arguments)

    async def _answer(
        self, asked: str | None, call: Callable[[ServedModel], Awaitable[Found | Problem | CannotLoad]]
    ) -> Found | Problem:
        """Return what a replica answers; a bundle that is gone is looked for again under its name."""
        self.keep_watch()
        name, reason = "", ""
        for _ in range(_TRIES_ON_NEW_VERSION):
            served = self.registry.resolve(asked)
            if isinstance(served, Problem):
                return served
            found = await call(served)
            if not isinstance(found, CannotLoad):
                return found
            if asked is not None and "@" in asked:
                return version_gone(served, found.reason)
            name, reason = served.name, served.in_words(found.reason)
            await self.follow()
        raise Unavailable(f"{name} cannot be loaded now: {reason}")

    def keep_watch(self) -> None:
        """Look for new bundles now and then, from the first question on."""
        if self._watch is None or self._watch.done():
            self._watch = asyncio.get_running_loop().create_task(self._look_now_and_then())

    async def _look_now_and_then(self) -> None:
        while True:
            try:
                await self.follow()
            except Unavailable as error:
                log.warning("a new version waits for a replica", extra={"reason": str(error)})
            await asyncio.sleep(LOOK_INTERVAL_S)

    async def follow(self) -> None:
        """Look for new bundles; each is served once a replica has loaded it and warmed it up."""
        async with self._looking:
            for served in await asyncio.to_thread(self.registry.look):
                refusal: CannotLoad | None = await self._call("load", served)
                if refusal is None:
                    self.registry.promote(served)
                else:
                    self.registry.refuse(served, refusal.reason)

    async def predict(self, request: PredictRequest, media_type: str) -> bytes | Problem:
        """Return the body of an answer, or why the request is refused."""

        async def ask(served: ServedModel) -> bytes | Problem | CannotLoad:
            found: bytes | Problem | CannotLoad = await self._call("predict", served, request, media_type)
            return found

        return await self._answer(request.model, ask)

    async def profiles(self, request: PredictRequest) -> PredictedProfiles | Problem:
        """Return predictions as arrays."""

        async def ask(served: ServedModel) -> PredictedProfiles | Problem | CannotLoad:
            found: PredictedProfiles | Problem | CannotLoad = await self._call("profiles", served, request)
            return found

        return await self._answer(request.model, ask)

    async def check(self) -> None:
        """Return once a replica has loaded the default bundle and run its warm-up.

        Where replicas may scale to none, that they came up once is enough: a probe must not keep them up.
        """
        if self._has_been_ready and not self.config.predictor.min_replicas:
            return

        async def ask(served: ServedModel) -> bool | CannotLoad:
            refusal: CannotLoad | None = await self._call("load", served)
            return True if refusal is None else refusal

        await self._answer(None, ask)
        self._has_been_ready = True
