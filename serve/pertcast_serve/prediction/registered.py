"""What a server says of its models; the bundles' JSON is enough for it."""

from __future__ import annotations

from pertcast import __version__

from pertcast_serve.config import ServeConfig
from pertcast_serve.prediction.registry import ModelRegistry
from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.models import Metadata, ModelCard, ModelSummary, Vocabulary

_SUMMARY_FIELDS = set(ModelSummary.model_fields)


class RegisteredModels:
    """The half of a `PredictorClient` that needs no weights.

    Parameters
    ----------
    config
        Settings of the server.

    Attributes
    ----------
    registry
        Which bundle answers to which name.
    """

    def __init__(self, config: ServeConfig) -> None:
        self.config = config
        self.registry = ModelRegistry(config.models)
        self._limits = {name: float(value) for name, value in config.limits.model_dump().items()}

    def keep_watch(self) -> None:
        """Do what keeps the registry up to date; called with every question."""

    async def models(self) -> list[ModelSummary]:
        """Return the served models in their versions of now, the default first."""
        self.keep_watch()
        cards = [
            described.card(name, is_default=name == self.registry.default, newer_refused=refused)
            for name, described, refused in self.registry.current()
        ]
        return [ModelSummary.model_validate(card.model_dump(include=_SUMMARY_FIELDS)) for card in cards]

    async def metadata(self, model: str | None) -> Metadata | Problem:
        """Return what a model is and accepts."""
        self.keep_watch()
        found = self.registry.describe(model)
        if isinstance(found, Problem):
            return found
        name, described = found
        return described.metadata(name, __version__, self._limits, self.config.predictor.rows_per_pass)

    async def card(self, model: str | None) -> ModelCard | Problem:
        """Return what a model was trained on, with its held-out metrics."""
        self.keep_watch()
        found = self.registry.describe(model)
        if isinstance(found, Problem):
            return found
        name, described = found
        refused = {each: reason for each, _, reason in self.registry.current()}
        is_default = name == self.registry.default
        return described.card(name, is_default=is_default, newer_refused=refused[name])

    async def vocabulary(self, model: str | None) -> Vocabulary | Problem:
        """Return the names that a model knows."""
        self.keep_watch()
        found = self.registry.describe(model)
        return found if isinstance(found, Problem) else found[1].vocabulary
