"""The deployment that answers questions about single profiles, and what calls it."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

from ray import serve
from ray.serve.handle import DeploymentHandle

from pertcast_serve.access.caller import ANONYMOUS, Caller
from pertcast_serve.analysis.service import AnalysisService
from pertcast_serve.config import ServeConfig
from pertcast_serve.deployments.calls import NotNow, ask_replicas
from pertcast_serve.deployments.client import ReplicaClient
from pertcast_serve.problems import Unavailable
from pertcast_serve.schemas.analysis import (
    ConnectivityRequest,
    ConnectivityResponse,
    EnrichmentRequest,
    EnrichmentResponse,
    GeneSetCollection,
    LibrarySummary,
    NeighborsRequest,
    NeighborsResponse,
)
from pertcast_serve.schemas.base import Problem
from pertcast_serve.services import StoredProfiles

Answer = TypeVar("Answer")


async def _or_not_now(answer: Awaitable[Answer]) -> Answer | NotNow:
    try:
        return await answer
    except Unavailable as error:
        return NotNow(str(error))


@serve.deployment
class Analysis:
    """Holds libraries and gene sets; asks the predictor for profiles.

    Parameters
    ----------
    predictor
        Handle of the predictor.
    config
        Settings of the server.
    """

    def __init__(self, predictor: DeploymentHandle[Any], config: ServeConfig) -> None:
        self._service = AnalysisService(config, ReplicaClient(predictor, config))

    async def enrichment(
        self, request: EnrichmentRequest, caller: Caller = ANONYMOUS
    ) -> EnrichmentResponse | Problem | NotNow:
        """Return the gene sets of one profile."""
        return await _or_not_now(self._service.enrichment(request, caller))

    async def connectivity(
        self, request: ConnectivityRequest, caller: Caller = ANONYMOUS
    ) -> ConnectivityResponse | Problem | NotNow:
        """Return what mimics and what reverses a signature."""
        return await _or_not_now(self._service.connectivity(request, caller))

    async def neighbors(
        self, request: NeighborsRequest, caller: Caller = ANONYMOUS
    ) -> NeighborsResponse | Problem | NotNow:
        """Return the nearest and the most opposite profiles."""
        return await _or_not_now(self._service.neighbors(request, caller))

    async def stored_profiles(
        self, library: str, sig_ids: Sequence[str], caller: Caller = ANONYMOUS
    ) -> StoredProfiles | Problem | NotNow:
        """Return profiles of a library by their names."""
        return await _or_not_now(self._service.stored_profiles(library, sig_ids, caller))

    async def gene_sets(self) -> list[GeneSetCollection] | NotNow:
        """Return the collections of gene sets."""
        return await _or_not_now(self._service.gene_sets())

    async def libraries(self, caller: Caller = ANONYMOUS) -> list[LibrarySummary] | NotNow:
        """Return the libraries that a caller may search."""
        return await _or_not_now(self._service.libraries(caller))


class AnalysisReplicas:
    """Calls `Analysis`; satisfies `services.AnalysisClient`.

    Parameters
    ----------
    analysis
        Handle of the deployment.
    """

    def __init__(self, analysis: DeploymentHandle[Any]) -> None:
        self._analysis = analysis

    async def enrichment(
        self, request: EnrichmentRequest, caller: Caller = ANONYMOUS
    ) -> EnrichmentResponse | Problem:
        """Return the gene sets of one profile."""
        found: EnrichmentResponse | Problem = await ask_replicas(self._analysis.enrichment, request, caller)
        return found

    async def connectivity(
        self, request: ConnectivityRequest, caller: Caller = ANONYMOUS
    ) -> ConnectivityResponse | Problem:
        """Return what mimics and what reverses a signature."""
        found: ConnectivityResponse | Problem = await ask_replicas(
            self._analysis.connectivity, request, caller
        )
        return found

    async def neighbors(
        self, request: NeighborsRequest, caller: Caller = ANONYMOUS
    ) -> NeighborsResponse | Problem:
        """Return the nearest and the most opposite profiles."""
        found: NeighborsResponse | Problem = await ask_replicas(self._analysis.neighbors, request, caller)
        return found

    async def stored_profiles(
        self, library: str, sig_ids: Sequence[str], caller: Caller = ANONYMOUS
    ) -> StoredProfiles | Problem:
        """Return profiles of a library by their names."""
        found: StoredProfiles | Problem = await ask_replicas(
            self._analysis.stored_profiles, library, list(sig_ids), caller
        )
        return found

    async def gene_sets(self) -> list[GeneSetCollection]:
        """Return the collections of gene sets."""
        found: list[GeneSetCollection] = await ask_replicas(self._analysis.gene_sets)
        return found

    async def libraries(self, caller: Caller = ANONYMOUS) -> list[LibrarySummary]:
        """Return the libraries that a caller may search."""
        found: list[LibrarySummary] = await ask_replicas(self._analysis.libraries, caller)
        return found
