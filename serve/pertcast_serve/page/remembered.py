"""What the page remembers of the models for some seconds: names and cards, which each view asks for."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.models import Metadata, ModelCard, ModelSummary, Vocabulary
from pertcast_serve.schemas.predict import PredictRequest
from pertcast_serve.services import PredictedProfiles, PredictorClient

SECONDS_KEPT: Final = 30.0
_MOST_KEPT: Final = 32

_Known = TypeVar("_Known")


class RememberingPredictor:
    """A predictor whose names and cards are kept for `SECONDS_KEPT`; all else is passed on.

    Parameters
    ----------
    predictor
        What is asked.
    """

    def __init__(self, predictor: PredictorClient) -> None:
        self._predictor = predictor
        self._vocabularies: dict[str | None, tuple[float, Vocabulary]] = {}
        self._cards: dict[str | None, tuple[float, ModelCard]] = {}

    async def predict(self, request: PredictRequest, media_type: str) -> bytes | Problem:
        """Return the body of an answer."""
        return await self._predictor.predict(request, media_type)

    async def profiles(self, request: PredictRequest) -> PredictedProfiles | Problem:
        """Return predictions as arrays."""
        return await self._predictor.profiles(request)

    async def models(self) -> list[ModelSummary]:
        """Return the served models."""
        return await self._predictor.models()

    async def metadata(self, model: str | None) -> Metadata | Problem:
        """Return what a model is and accepts."""
        return await self._predictor.metadata(model)

    async def card(self, model: str | None) -> ModelCard | Problem:
        """Return what a model was trained on; of at most `SECONDS_KEPT` ago."""
        return await _kept(self._cards, model, self._predictor.card)

    async def vocabulary(self, model: str | None) -> Vocabulary | Problem:
        """Return the names that a model knows; of at most `SECONDS_KEPT` ago."""
        return await _kept(self._vocabularies, model, self._predictor.vocabulary)

    async def check(self) -> None:
        """Return once a predictor is there."""
        await self._predictor.check()


async def _kept(
    kept: dict[str | None, tuple[float, _Known]],
    model: str | None,
    ask: Callable[[str | None], Awaitable[_Known | Problem]],
) -> _Known | Problem:
    """Return what is kept of a model, or ask; refusals are not kept."""
    asked_at, known = kept.get(model, (float("-inf"), None))
    if known is not None and time.monotonic() - asked_at < SECONDS_KEPT:
        return known
    found = await ask(model)
    if not isinstance(found, Problem):
        if len(kept) >= _MOST_KEPT:
            kept.clear()
        kept[model] = (time.monotonic(), found)
    return found
