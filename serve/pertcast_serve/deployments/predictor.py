"""The deployment that holds bundles: autoscaled, batched, several models and versions a replica."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

from pertcast.errors import CorruptBundle, PertcastError
from pertcast.training.bundle import find_bundle
from pertcast.training.bundle_manifest import content_hash, read_manifest
from ray import serve

from pertcast_serve import metrics
from pertcast_serve.config import ServeConfig
from pertcast_serve.prediction.answers import Answer
from pertcast_serve.prediction.described import VERSION_LETTERS
from pertcast_serve.prediction.registry import ServedModel
from pertcast_serve.prediction.service import BundleService, load_service
from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.predict import PredictRequest
from pertcast_serve.services import PredictedProfiles

log = logging.getLogger(__name__)

_KEPT_BATCH_SIZES = 10_000


@dataclass(frozen=True)
class CannotLoad:
    """A bundle that this replica does not hold and cannot load.

    Attributes
    ----------
    reason
        What is wrong with it, with the remedy.
    """

    reason: str


@dataclass(frozen=True)
class _Ask:
    """One request with the bundle that answers it."""

    service: BundleService
    request: PredictRequest


def _conditions_of(asks: Sequence[_Ask]) -> int:
    """Return the size of a batch as its limit counts it."""
    return sum(len(ask.request.conditions) for ask in asks)


def _finder(live: Mapping[str, BundleService]) -> Callable[[str], Awaitable[BundleService]]:
    """Return what Ray's multiplexing calls to load a bundle: it is there already."""

    async def find(model_id: str) -> BundleService:
        return live[model_id]

    return find


@serve.deployment
class BatchedPredictor:
    """Holds the bundles used last; requests of one bundle that wait together are predicted together.

    A replica counts as healthy only after the default bundle is loaded and warm. Where that bundle is
    damaged, it starts without: requests for the version before, which is somewhere else, can be answered.

    Parameters
    ----------
    config
        Settings of the server.
    """

    async def __init__(self, config: ServeConfig) -> None:  # type: ignore[misc]
        # Ray Serve awaits it.
        self._settings = config.predictor
        self._live: WeakValueDictionary[str, BundleService] = WeakValueDictionary()
        self._loading = asyncio.Lock()
        self._batch_sizes: list[int] = []
        # Not as a decorator: how many bundles fit is a setting.
        hold = serve.multiplexed(max_num_models_per_replica=self._settings.models_per_replica)
        self._hold = hold(_finder(self._live))
        self._predict.set_max_batch_size(self._settings.max_batch_conditions)  # type: ignore[attr-defined]
        self._predict.set_batch_wait_timeout_s(self._settings.batch_wait_s)  # type: ignore[attr-defined]
        await self._load_default(config)

    async def _load_default(self, config: ServeConfig) -> None:
        (name, folder), *_ = config.models.items()
        try:
            path = find_bundle(folder).resolve()
            version = content_hash(read_manifest(path))[:VERSION_LETTERS]
            await self._service(ServedModel(name, version, str(path)))
        except PertcastError:
            log.exception("this replica starts without the default bundle", extra={"model": name})

    async def _service(self, served: ServedModel) -> BundleService:
        """Return a bundle that is loaded and warm; raises CorruptBundle or ConfigError where there is none.

        It is loaded before another one is given up for it, in a thread: the others answer meanwhile.
        """
        if served.id not in self._live:
            async with self._loading:
                if served.id not in self._live:
                    loaded = await asyncio.to_thread(self._load, served)
                    self._live[served.id] = loaded
                    await self._hold(served.id)
        held: BundleService = await self._hold(served.id)
        return held

    def _load(self, served: ServedModel) -> BundleService:
        began = time.perf_counter()
        try:
            service = load_service(served.path, served.name, self._settings)
        except PertcastError:
            raise
        except Exception as error:
            # Whatever is wrong with one bundle, the others answer on.
            log.exception("a bundle cannot be loaded", extra={"model": served.id})
            raise CorruptBundle(f"{served.path} cannot be loaded: {error}") from error
        if service.name != served.id:
            raise CorruptBundle(f"{served.path} holds {service.name} now.")
        metrics.observe_model_load(served.name, time.perf_counter() - began)
        return service

    @serve.batch(max_batch_size=256, batch_wait_timeout_s=0.005, batch_size_fn=_conditions_of)
    async def _predict(self, asks: list[_Ask]) -> list[Answer | Problem]:
        self._batch_sizes.append(len(asks))
        del self._batch_sizes[:-_KEPT_BATCH_SIZES]
        # Not in a thread: it would compete with this loop for the interpreter, and starve the next batch.
        # Ray hands over requests of one bundle; one that was loaded anew meanwhile is another object.
        answers: dict[int, Answer | Problem] = {}
        for service in {id(ask.service): ask.service for ask in asks}.values():
            places = [place for place, ask in enumerate(asks) if ask.service is service]
            found = service.answer([asks[place].request for place in places])
            answers.update(zip(places, found, strict=True))
        return [answers[place] for place in range(len(asks))]

    async def _answer(self, served: ServedModel, request: PredictRequest) -> Answer | Problem | CannotLoad:
        try:
            service = await self._service(served)
        except PertcastError as error:
            return CannotLoad(str(error))
        answer: Answer | Problem = await self._predict(_Ask(service, request))  # type: ignore[arg-type, assignment]
        return answer

    async def predict(
        self, served: ServedModel, request: PredictRequest, media_type: str
    ) -> bytes | Problem | CannotLoad:
        """Return the body of an answer, or the problem that concerns this request alone."""
        answer = await self._answer(served, request)
        return answer.body(media_type) if isinstance(answer, Answer) else answer

    async def profiles(
        self, served: ServedModel, request: PredictRequest
    ) -> PredictedProfiles | Problem | CannotLoad:
        """Return predictions as arrays."""
        answer = await self._answer(served, request)
        return answer.profiles() if isinstance(answer, Answer) else answer

    async def load(self, served: ServedModel) -> CannotLoad | None:
        """Return once a bundle is loaded and warm, or why it cannot be."""
        try:
            await self._service(served)
        except PertcastError as error:
            return CannotLoad(str(error))
        return None

    async def batch_sizes(self) -> list[int]:
        """Return the sizes (in requests) of the batches since this was last asked, oldest first."""
        sizes, self._batch_sizes = self._batch_sizes, []
        return sizes
