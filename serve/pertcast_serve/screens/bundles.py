"""What screens need to know of models: where the bundle of a name is."""

from __future__ import annotations

from typing import Protocol

from pertcast_serve.schemas.base import Problem


class ServedBundle(Protocol):
    """A bundle under its name."""

    @property
    def id(self) -> str:
        """name@version."""

    @property
    def path(self) -> str:
        """Its folder."""


class ModelResolver(Protocol):
    """Knows which bundle a name means."""

    def resolve(self, asked: str | None) -> ServedBundle | Problem:
        """Return the bundle of "name", "name@version" or None (the default), or a 404."""
