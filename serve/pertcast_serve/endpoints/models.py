"""Probes, versions, models and the names they know."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Annotated, Any

from fastapi import FastAPI, Query
from pertcast import __version__

from pertcast_serve.access.caller import requires
from pertcast_serve.config import ServeConfig
from pertcast_serve.endpoints.problem_schemas import PROBLEMS
from pertcast_serve.prediction.names import NameSearch, cell_lines_of, compounds_of, genes_of
from pertcast_serve.problems import or_refused
from pertcast_serve.schemas.base import Health, Version
from pertcast_serve.schemas.models import (
    Metadata,
    ModelCard,
    ModelSummary,
    NameMatch,
    NameMatches,
    Vocabulary,
)
from pertcast_serve.services import PredictorClient, Services

MOST_MATCHES = 100
_KEPT_SEARCHES = 12

Asked = Annotated[str, Query(max_length=200, description="Part of a name; close spellings count too.")]
Limit = Annotated[int, Query(ge=1, le=MOST_MATCHES, description="Most names of the answer.")]
Model = Annotated[
    str | None, Query(max_length=200, description="name or name@version; the first where absent.")
]


class NameSearches:
    """Searches over the vocabularies of models, made once a version.

    Parameters
    ----------
    predictor
        Who knows the vocabularies.
    """

    def __init__(self, predictor: PredictorClient) -> None:
        self._predictor = predictor
        self._made: OrderedDict[tuple[str, str], NameSearch] = OrderedDict()

    async def search(
        self,
        model: str | None,
        kind: Callable[[Vocabulary], Iterator[NameMatch]],
        text: str,
        limit: int,
    ) -> NameMatches:
        """Return the names of a kind that fit; raises Refused for an unknown model."""
        key = or_refused(await self._predictor.card(model)).bundle, kind.__name__
        if key not in self._made:
            vocabulary = or_refused(await self._predictor.vocabulary(model))
            self._made[key] = await asyncio.to_thread(lambda: NameSearch(list(kind(vocabulary))))
        while len(self._made) > _KEPT_SEARCHES:
            self._made.popitem(last=False)
        return await asyncio.to_thread(self._made[key].search, text, limit)


def add_routes(api: FastAPI, services: Services, config: ServeConfig) -> None:
    """Add the paths of this subject."""
    _add_probes(api, services)
    _add_models(api, services)
    _add_names(api, services)


def _add_probes(api: FastAPI, services: Services) -> None:
    async def live() -> Health:
        """Answer while the server process runs."""
        return Health(status="live")

    async def ready() -> Health:
        """Answer once weights are loaded and a warm-up ran."""
        await services.predictor.check()
        return Health(status="ready")

    async def version() -> Version:
        """Return the versions of the server and its interface."""
        return Version(pertcast=__version__)

    api.get("/v1/health/live")(live)
    api.get("/v1/health/ready", responses={503: PROBLEMS[503]})(ready)
    api.get("/v1/version")(version)


def _add_models(api: FastAPI, services: Services) -> None:
    async def metadata(model: Model = None) -> Metadata:
        """Return the model, its gene space, what it accepts and its held-out metrics."""
        return or_refused(await services.predictor.metadata(model))

    async def models() -> list[ModelSummary]:
        """Return the served models in their versions of now, the default first."""
        return await services.predictor.models()

    async def card(id: str) -> ModelCard:
        """Return what a model was trained on, with its held-out metrics; `id` may be name@version."""
        return or_refused(await services.predictor.card(id))

    options: dict[str, Any] = {"responses": PROBLEMS, "dependencies": [requires("predict")]}
    api.get("/v1/metadata", **options)(metadata)
    api.get("/v1/models", **options)(models)
    api.get("/v1/models/{id}", **options)(card)


def _add_names(api: FastAPI, services: Services) -> None:
    searches = NameSearches(services.predictor)

    async def genes(q: Asked = "", limit: Limit = 20, model: Model = None) -> NameMatches:
        """Return measured and perturbed genes whose names fit, the best first."""
        return await searches.search(model, genes_of, q, limit)

    async def compounds(q: Asked = "", limit: Limit = 20, model: Model = None) -> NameMatches:
        """Return compounds of the training whose names fit, the best first."""
        return await searches.search(model, compounds_of, q, limit)

    async def cell_lines(q: Asked = "", limit: Limit = MOST_MATCHES, model: Model = None) -> NameMatches:
        """Return cell lines of the training whose names fit, the best first."""
        return await searches.search(model, cell_lines_of, q, limit)

    options: dict[str, Any] = {"responses": PROBLEMS, "dependencies": [requires("predict")]}
    api.get("/v1/genes", **options)(genes)
    api.get("/v1/compounds", **options)(compounds)
    api.get("/v1/cell_lines", **options)(cell_lines)
