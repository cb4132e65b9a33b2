"""Enrichment, connectivity and neighbours as a service: finds the profile and the library, then computes.

Nothing here computes on the event loop: files are read and profiles compared in a few threads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from pertcast.errors import PertcastError
from pertcast.torch_threads import torch_threads

from pertcast_serve.access.caller import ANONYMOUS, Caller
from pertcast_serve.analysis import trained
from pertcast_serve.analysis.connectivity import connect
from pertcast_serve.analysis.enrichment import enrich
from pertcast_serve.analysis.gene_sets import SetShelf
from pertcast_serve.analysis.neighbors import nearest
from pertcast_serve.analysis.profiles import (
    AskedProfile,
    given_profile,
    predicted_profile,
    profiles_of,
    stored_profile,
)
from pertcast_serve.analysis.refusals import problem_of, unknown
from pertcast_serve.analysis.shelf import LibraryShelf, OpenLibrary
from pertcast_serve.config import ServeConfig
from pertcast_serve.problems import Refused
from pertcast_serve.schemas.analysis import (
    ConnectivityRequest,
    ConnectivityResponse,
    EnrichmentRequest,
    EnrichmentResponse,
    GeneSetCollection,
    LibrarySummary,
    NeighborsRequest,
    NeighborsResponse,
    StoredProfile,
)
from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.predict import PredictRequest
from pertcast_serve.services import PredictorClient, StoredProfiles

log = logging.getLogger(__name__)

THREADS: Final = 4
"""Questions that are computed at once; more wait. Each holds a block of profiles beside the libraries."""

Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")


class AnalysisService:
    """Answers questions about single profiles; satisfies `services.AnalysisClient`.

    Parameters
    ----------
    config
        Names libraries, gene sets and the folder of screens.
    predictor
        Predicts conditions that are asked about.
    """

    def __init__(self, config: ServeConfig, predictor: PredictorClient) -> None:
        self._predictor = predictor
        self._libraries = LibraryShelf(config)
        self._sets = SetShelf(config.gene_sets)
        self._trained = trained.TrainedLibrary(predictor, config.limits.conditions)
        self._files: Mapping[str, Path] = {**config.libraries, **config.gene_sets}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="analysis")

    async def enrichment(
        self, request: EnrichmentRequest, caller: Caller = ANONYMOUS
    ) -> EnrichmentResponse | Problem:
        """Return the gene sets of one profile."""

        async def answer() -> EnrichmentResponse:
            profile = await self._profile(request, caller)
            return await self._compute(enrich, request, self._sets, profile)

        return await self._or_problem(answer())

    async def connectivity(
        self, request: ConnectivityRequest, caller: Caller = ANONYMOUS
    ) -> ConnectivityResponse | Problem:
        """Return what mimics and what reverses a signature."""

        async def answer() -> ConnectivityResponse:
            library = await self._library(request.library, caller)
            stored = None if request.stored is None else await self._stored(request.stored, caller)
            return await self._compute(connect, request, library, stored)

        return await self._or_problem(answer())

    async def neighbors(
        self, request: NeighborsRequest, caller: Caller = ANONYMOUS
    ) -> NeighborsResponse | Problem:
        """Return the nearest and the most opposite profiles."""

        async def answer() -> NeighborsResponse:
            profile = await self._profile(request, caller)
            library = await self._library(_searched_name(request), caller)
            return await self._compute(nearest, request, library, profile)

        return await self._or_problem(answer())

    async def stored_profiles(
        self, library: str, sig_ids: Sequence[str], caller: Caller = ANONYMOUS
    ) -> StoredProfiles | Problem:
        """Return profiles of a library by their names, at most `MAX_ROWS` of them."""

        async def answer() -> StoredProfiles:
            found = await self._library(library, caller)
            return await self._compute(profiles_of, found, sig_ids)

        return await self._or_problem(answer())

    async def gene_sets(self) -> list[GeneSetCollection]:
        """Return the collections of gene sets; one whose file cannot be read is left out and logged."""
        return await self._compute(self._sets.collections)

    async def libraries(self, caller: Caller = ANONYMOUS) -> list[LibrarySummary]:
        """Return what a caller may search, its finished screens among them; else the model's own."""
        places = await self._compute(self._libraries.places, caller)
        found = await self._compute(self._libraries.summaries, places)
        if places:
            return found
        try:
            return [await self._trained.summary()]
        except Refused as refusal:
            log.warning("no library can be made of the model: %s", refusal)
            return []

    async def _profile(self, request: EnrichmentRequest | NeighborsRequest, caller: Caller) -> AskedProfile:
        if request.condition is not None:
            asked = PredictRequest(model=request.model, conditions=[request.condition])
            predicted = await self._predictor.profiles(asked)
            if isinstance(predicted, Problem):
                raise Refused(predicted)
            return predicted_profile(request.condition, predicted)
        if request.stored is not None:
            return await self._stored(request.stored, caller)
        assert request.profile is not None
        return await self._compute(given_profile, request.profile)

    async def _stored(self, stored: StoredProfile, caller: Caller) -> AskedProfile:
        library = await self._library(stored.library, caller)
        return await self._compute(stored_profile, library, stored.sig_id)

    async def _library(self, name: str | None, caller: Caller) -> OpenLibrary:
        """Return a library; raises Refused where there is none of that name that the caller may see."""
        places = await self._compute(self._libraries.places, caller)
        wanted = name if name is not None else next(iter(places), trained.NAME)
        if wanted in places:
            return await self._compute(self._libraries.get, wanted, places[wanted])
        if wanted == trained.NAME:
            return await self._trained.get()
        known = list(places) or [trained.NAME]
        raise unknown("library", wanted, known, "/v1/libraries lists all.")

    async def _compute(
        self, work: Callable[Asked, Answer], *given: Asked.args, **named: Asked.kwargs
    ) -> Answer:
        """Run what takes a processor or a disk in a thread."""

        def run() -> Answer:
            with torch_threads(1):
                return work(*given, **named)

        return await asyncio.get_running_loop().run_in_executor(self._threads, run)

    async def _or_problem(self, answering: Awaitable[Answer]) -> Answer | Problem:
        try:
            return await answering
        except Refused as refusal:
            return refusal.problem
        except (PertcastError, OSError) as error:
            return problem_of(error, self._files)


def _searched_name(request: NeighborsRequest) -> str | None:
    """Return the library that is searched: where none is named, the one that the profile is stored in."""
    if request.library is None and request.stored is not None:
        return request.stored.library
    return request.library
