"""Screens of the server: submitted, followed, cancelled, found again after a restart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pertcast_serve.access.caller import Caller
from pertcast_serve.config import ServeConfig
from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.screens import (
    Artifact,
    HitPage,
    Screen,
    ScreenEstimate,
    ScreenList,
    ScreenRequest,
    StoredResponse,
)
from pertcast_serve.screens.jobs import ScreenJobs

HitColumn = Literal[
    "rank",
    "sig_id",
    "pert_id",
    "cmap_name",
    "cell_iname",
    "pert_type",
    "pert_dose",
    "pert_time",
    "score",
    "effect_size",
    "p_value",
    "fdr",
    "flag",
]


@dataclass(frozen=True, slots=True)
class HitFilter:
    """Which hits are asked for; all where everything is left as it is.

    Attributes
    ----------
    text
        Part of sig_id, pert_id or cmap_name, in any case.
    cell_iname, pert_type
        Exact names.
    only_hits
        Only conditions that are called at a false-discovery rate of 10 %.
    max_fdr
        Only conditions with a false-discovery rate up to this.
    """

    text: str = ""
    cell_iname: str | None = None
    pert_type: str | None = None
    only_hits: bool = False
    max_fdr: float | None = None


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


class ScreenService:
    """The screens of one folder."""

    def __init__(self, config: ServeConfig, jobs: ScreenJobs, models: ModelResolver) -> None:
        self._config, self._jobs, self._models = config, jobs, models

    async def submit(
        self, request: ScreenRequest, caller: Caller, idempotency_key: str | None = None
    ) -> Screen | Problem:
        """Begin a screen, or return the one that this key began."""
        raise NotImplementedError

    async def estimate(self, request: ScreenRequest) -> ScreenEstimate | Problem:
        """Return what a screen would compute and take."""
        raise NotImplementedError

    async def get(self, identifier: str, caller: Caller) -> Screen | Problem:
        """Return a screen of this caller; administrators see all."""
        raise NotImplementedError

    async def list(self, caller: Caller, offset: int = 0, limit: int = 50) -> ScreenList | Problem:
        """Return the caller's screens, the newest first."""
        raise NotImplementedError

    async def cancel(self, identifier: str, caller: Caller) -> Screen | Problem:
        """Stop a screen; a problem 409 where it has ended already."""
        raise NotImplementedError

    async def events(self, identifier: str, caller: Caller) -> AsyncIterator[Screen] | Problem:
        """Return the states of a screen as they change; the last one is its final state."""
        raise NotImplementedError

    async def hits(
        self,
        identifier: str,
        caller: Caller,
        offset: int = 0,
        limit: int = 50,
        sort: HitColumn = "rank",
        descending: bool = False,
        filters: HitFilter | None = None,
    ) -> HitPage | Problem:
        """Return a page of the hits of a finished screen."""
        raise NotImplementedError

    async def profile(self, identifier: str, caller: Caller, sig_id: str) -> StoredResponse | Problem:
        """Return one profile of a finished screen."""
        raise NotImplementedError

    async def artifacts(self, identifier: str, caller: Caller) -> list[Artifact] | Problem:
        """Return the files of a finished screen."""
        raise NotImplementedError

    async def artifact_path(self, identifier: str, caller: Caller, name: str) -> Path | Problem:
        """Return the path of a file that `artifacts` lists."""
        raise NotImplementedError

    async def resume_all(self) -> list[str]:
        """Submit again what was interrupted; return the ids of these screens."""
        raise NotImplementedError
