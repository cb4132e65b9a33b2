"""What the interface needs of the rest of the server, wherever it runs: in this process or in replicas.

All may raise `problems.Unavailable`. What concerns one request alone comes back as a `Problem`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pertcast_serve.access.caller import ANONYMOUS, Caller
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
from pertcast_serve.schemas.models import Metadata, ModelCard, ModelSummary, Vocabulary
from pertcast_serve.schemas.predict import PredictHead, PredictRequest
from pertcast_serve.screens.service import ScreenService


@dataclass(frozen=True)
class PredictedProfiles:
    """Predictions as arrays.

    Attributes
    ----------
    head
        The answer without its numbers.
    genes
        Names of the G genes.
    mean
        (items, G) float32 responses.
    sd
        (items, G) float32, or None.
    """

    head: PredictHead
    genes: list[str]
    mean: NDArray[np.float32]
    sd: NDArray[np.float32] | None


@dataclass(frozen=True)
class StoredProfiles:
    """Profiles of a library as arrays.

    Attributes
    ----------
    genes
        Names of the G genes.
    values
        (profiles, G) float32 responses, in the order that was asked for.
    """

    genes: tuple[str, ...]
    values: NDArray[np.float32]


class PredictedBody(bytes):
    """The body of an answer, and what its headers tell.

    Attributes
    ----------
    n_errors
        Conditions that were not predicted; a table has no room for them.
    """

    n_errors: int = 0

    @classmethod
    def of(cls, content: bytes, n_errors: int) -> PredictedBody:
        """Return a body with what its headers tell."""
        body = cls(content)
        body.n_errors = n_errors
        return body


class PredictorClient(Protocol):
    """Predictions, and what is known of the models."""

    async def predict(self, request: PredictRequest, media_type: str) -> bytes | Problem:
        """Return the body of an answer in a media type of `negotiation`, or why it is refused."""

    async def profiles(self, request: PredictRequest) -> PredictedProfiles | Problem:
        """Return predictions as arrays."""

    async def models(self) -> list[ModelSummary]:
        """Return the served models in their versions of now, the default first."""

    async def metadata(self, model: str | None) -> Metadata | Problem:
        """Return what a model is and accepts."""

    async def card(self, model: str | None) -> ModelCard | Problem:
        """Return what a model was trained on, with its held-out metrics."""

    async def vocabulary(self, model: str | None) -> Vocabulary | Problem:
        """Return the names that a model knows."""

    async def check(self) -> None:
        """Return once a predictor with loaded weights that has run a warm-up is there."""


class AnalysisClient(Protocol):
    """Questions about single profiles. Screens that a caller may not see are no libraries for it."""

    async def enrichment(
        self, request: EnrichmentRequest, caller: Caller = ANONYMOUS
    ) -> EnrichmentResponse | Problem:
        """Return the gene sets of one profile."""

    async def connectivity(
        self, request: ConnectivityRequest, caller: Caller = ANONYMOUS
    ) -> ConnectivityResponse | Problem:
        """Return what mimics and what reverses a signature."""

    async def neighbors(
        self, request: NeighborsRequest, caller: Caller = ANONYMOUS
    ) -> NeighborsResponse | Problem:
        """Return the nearest and the most opposite profiles."""

    async def stored_profiles(
        self, library: str, sig_ids: Sequence[str], caller: Caller = ANONYMOUS
    ) -> StoredProfiles | Problem:
        """Return profiles of a library by their names, or why one is refused."""

    async def gene_sets(self) -> list[GeneSetCollection]:
        """Return the collections of gene sets."""

    async def libraries(self, caller: Caller = ANONYMOUS) -> list[LibrarySummary]:
        """Return the libraries that a caller may search; finished screens that it may see are among them."""


class PageClient(Protocol):
    """The page: HTML of a view or of a part of one."""

    async def render(
        self, view: str, parameters: Mapping[str, str], caller: Caller = ANONYMOUS
    ) -> tuple[int, str]:
        """Return (HTTP status, HTML) of a view by its name."""


@dataclass(frozen=True)
class Services:
    """All that endpoints call."""

    predictor: PredictorClient
    analysis: AnalysisClient
    screens: ScreenService
    page: PageClient
