"""Screens of the server: submitted, followed, cancelled, found again after a restart.

Whatever touches files or jobs runs in threads: it never holds up the loop that answers requests.
"""

from __future__ import annotations

import asyncio
import builtins
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from pertcast_data.errors import PertcastError

from pertcast_serve.access.caller import Caller
from pertcast_serve.config import ServeConfig
from pertcast_serve.problems import Unavailable
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
from pertcast_serve.screens.bundles import ModelResolver
from pertcast_serve.screens.command import ScreenCommand, command_of
from pertcast_serve.screens.estimates import PROGRAM, Estimator
from pertcast_serve.screens.folder import ScreenFolder
from pertcast_serve.screens.hits import HitColumn, HitFilter, hit_page
from pertcast_serve.screens.jobs import JobsUnavailable, ScreenJobs
from pertcast_serve.screens.messages import in_our_words
from pertcast_serve.screens.requests import ScreenDesk, Submission
from pertcast_serve.screens.starting import ScreenStarter
from pertcast_serve.screens.states import ScreenStates, is_ended
from pertcast_serve.screens.store import ScreenStore
from pertcast_serve.screens.stored import StoredFile, StoredScreens
from pertcast_serve.screens.watch import INTERVAL_S, Watch

log = logging.getLogger(__name__)

__all__ = ["HitColumn", "HitFilter", "ModelResolver", "ScreenService"]

POLL_S: Final = 1.0
"""Seconds between two looks at the files of a screen that is followed."""
_SPARE_S: Final = 5.0
"""Seconds of a request's time that its estimate leaves to the rest."""

_Found = TypeVar("_Found")


class ScreenService:
    """The screens of one folder.

    Parameters
    ----------
    config
        Settings of the server. Without `screens.folder`, every question is answered with a problem.
    jobs
        What runs screens.
    models
        Which bundle a name means.
    program
        What `pertcast` is on this machine; estimates run it.
    """

    def __init__(
        self,
        config: ServeConfig,
        jobs: ScreenJobs,
        models: ModelResolver,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self._config, self._jobs, self._models = config, jobs, models
        folder = config.screens.folder
        self.is_on = folder is not None
        self._store = ScreenStore(folder or Path())
        self._states = ScreenStates(jobs)
        self._starter = ScreenStarter(jobs, self._states)
        self._desk = ScreenDesk(self._store, self._states, config.screens, config.limits)
        self._stored = StoredScreens()
        seconds = max(_SPARE_S, config.limits.request_s - _SPARE_S)
        self._estimator = Estimator(self._desk.options, seconds, program)
        self._watch = Watch(self._store, self._states, self._starter)

    async def submit(
        self, request: ScreenRequest, caller: Caller, idempotency_key: str | None = None
    ) -> Screen | Problem:
        """Begin a screen, or return the one that this key began.

        Parameters
        ----------
        request
            What is screened. It is estimated first, so that what cannot be screened is refused here.
        caller
            Who asks.
        idempotency_key
            The same key with the same request gives the same screen, however often it is sent.

        Returns
        -------
        Screen or Problem
            404 for an unknown model, 409 for a key that came with another request, 422 for what the command
            refuses or more profiles than one may ask for, 429 for too many screens at once.

        Raises
        ------
        Unavailable
            The estimate took too long.
        """
        if not self.is_on:
            return _screens_are_off()
        submission = Submission(request, caller, idempotency_key)
        known = await asyncio.to_thread(self._known, submission)
        if known is not None:
            return await self._state(known) if isinstance(known, ScreenFolder) else known
        found = await self._command(request)
        if isinstance(found, Problem):
            return found
        command, model = found
        estimate = await self._estimator.estimate(command, model)
        if isinstance(estimate, Problem):
            return estimate
        if (problem := self._desk.too_large(estimate)) is not None:
            return problem
        folder = await asyncio.to_thread(self._desk.begin, submission, command, model)
        if isinstance(folder, Problem):
            return folder
        await asyncio.to_thread(self._starter.start, folder)
        return await self._state(folder)

    def _known(self, submission: Submission) -> ScreenFolder | Problem | None:
        """Return what needs no estimate: an earlier screen, or a problem."""
        earlier = self._desk.earlier(submission)
        return earlier if earlier is not None else self._desk.over_quota(submission.caller)

    async def _command(self, request: ScreenRequest) -> tuple[ScreenCommand, str] | Problem:
        """Return the command of a request and the model's name@version."""
        bundle = await asyncio.to_thread(self._models.resolve, request.model)
        if isinstance(bundle, Problem):
            return bundle
        command = command_of(request, bundle.path, self._config.gene_sets)
        return command if isinstance(command, Problem) else (command, bundle.id)

    async def _state(self, folder: ScreenFolder) -> Screen:
        return await asyncio.to_thread(self._states.of, folder)

    async def estimate(self, request: ScreenRequest) -> ScreenEstimate | Problem:
        """Return what a screen would compute and take, or why it is refused; raises Unavailable."""
        if not self.is_on:
            return _screens_are_off()
        found = await self._command(request)
        return found if isinstance(found, Problem) else await self._estimator.estimate(*found)

    async def _visible(self, identifier: str, caller: Caller) -> ScreenFolder | Problem:
        """Return a screen that the caller may see; what others began is as if it were not there."""
        if not self.is_on:
            return _screens_are_off()
        folder = await asyncio.to_thread(self._store.find, identifier)
        if folder is not None:
            record = await asyncio.to_thread(self._store.record_of, folder)
            if caller.is_admin or record.caller_id == caller.id:
                return folder
        detail = f"There is no screen {identifier[:100]!r} of yours. /v1/screens lists all."
        return Problem(title="Unknown screen", status=404, detail=detail)

    async def get(self, identifier: str, caller: Caller) -> Screen | Problem:
        """Return a screen of this caller; administrators see all."""
        folder = await self._visible(identifier, caller)
        return folder if isinstance(folder, Problem) else await self._state(folder)

    async def list(self, caller: Caller, offset: int = 0, limit: int = 50) -> ScreenList | Problem:
        """Return the caller's screens, the newest first; administrators see all."""
        if not self.is_on:
            return _screens_are_off()
        return await asyncio.to_thread(self._list, None if caller.is_admin else caller.id, offset, limit)

    def _list(self, caller_id: str | None, offset: int, limit: int) -> ScreenList:
        folders = self._store.of(caller_id)
        shown = [self._states.of(folder) for folder in folders[offset : offset + limit]]
        return ScreenList(screens=shown, n_screens=len(folders))

    async def cancel(self, identifier: str, caller: Caller) -> Screen | Problem:
        """Stop a screen; a 409 where it has ended. Raises Unavailable where jobs cannot be reached."""
        folder = await self._visible(identifier, caller)
        if isinstance(folder, Problem):
            return folder
        screen = await self._state(folder)
        if screen.state in ("finished", "failed"):
            detail = (
                f"The screen has {screen.state} already, so there is nothing to cancel. Its files stay until "
                f"an administrator removes the folder {folder.id} from the server's folder of screens."
            )
            return Problem(title="Screen has ended", status=409, detail=detail)
        if screen.state != "cancelled":
            await asyncio.to_thread(self._stop, folder)
        return await self._state(folder)

    def _stop(self, folder: ScreenFolder) -> None:
        # Marked first: nobody submits it again once its job is gone.
        folder.mark_cancelled()
        try:
            for attempt in folder.attempts[-1:]:
                self._jobs.stop(folder.job(attempt.number))
        except JobsUnavailable as error:
            folder.unmark_cancelled()
            raise Unavailable("What computes the screen cannot be reached; it was not cancelled.") from error

    async def events(
        self, identifier: str, caller: Caller, poll_s: float = POLL_S
    ) -> AsyncIterator[Screen] | Problem:
        """Return the states of a screen as they change; the last one is its final state."""
        folder = await self._visible(identifier, caller)
        return folder if isinstance(folder, Problem) else self._follow(folder, poll_s)

    async def _follow(self, folder: ScreenFolder, poll_s: float) -> AsyncIterator[Screen]:
        told: Screen | None = None
        while told is None or not is_ended(told):
            if told is not None:
                await asyncio.sleep(poll_s)
            screen = await self._state(folder)
            if screen != told:
                told = screen
                yield screen

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
        """Return a page of the hits of a finished screen.

        Parameters
        ----------
        identifier, caller
            Which screen, and who asks.
        offset, limit
            Which rows of those that fit.
        sort, descending
            Their order; rows without a value come last either way, equal ones by rank.
        filters
            Which rows fit; all where None.

        Returns
        -------
        HitPage or Problem
            404 for an unknown screen, 409 for one that is not finished.
        """

        def read(out: Path) -> HitPage:
            path = self._stored.hits(out)
            count, rows = hit_page(path, offset, limit, sort, descending, filters or HitFilter())
            return HitPage(screen=identifier, n_hits=count, offset=offset, rows=rows)

        return await self._of_finished(identifier, caller, read)

    async def profile(self, identifier: str, caller: Caller, sig_id: str) -> StoredResponse | Problem:
        """Return one profile of a finished screen."""
        return await self._of_finished(
            identifier, caller, lambda out: self._stored.profile(identifier, out, sig_id)
        )

    async def artifacts(self, identifier: str, caller: Caller) -> builtins.list[Artifact] | Problem:
        """Return the files of a finished screen, by name."""
        return await self._of_finished(identifier, caller, self._stored.artifacts)

    async def artifact(self, identifier: str, caller: Caller, name: str) -> StoredFile | Problem:
        """Return a file that `artifacts` lists, with its size and hash."""
        return await self._of_finished(
            identifier, caller, lambda out: self._stored.file(identifier, out, name)
        )

    async def artifact_path(self, identifier: str, caller: Caller, name: str) -> Path | Problem:
        """Return the path of a file that `artifacts` lists."""
        found = await self.artifact(identifier, caller, name)
        return found if isinstance(found, Problem) else found.path

    async def _of_finished(
        self, identifier: str, caller: Caller, read: Callable[[Path], _Found | Problem]
    ) -> _Found | Problem:
        """Return what `read` finds in a finished screen; raises Unavailable where it is damaged."""
        folder = await self._visible(identifier, caller)
        if isinstance(folder, Problem):
            return folder
        screen = await self._state(folder)
        if screen.state != "finished":
            detail = (
                f"The screen is {screen.state}; its results are there once it is finished. "
                f"/v1/screens/{identifier}/events tells how far it is."
            )
            return Problem(title="Screen is not finished", status=409, detail=detail)
        try:
            return await asyncio.to_thread(read, folder.out)
        except (PertcastError, OSError) as error:
            log.error("files of a screen cannot be read", extra={"screen": folder.id}, exc_info=error)
            said = in_our_words(str(error), self._store.record_of(folder).words)
            raise Unavailable(f"The screen's files cannot be read: {said}") from error

    async def resume_all(self) -> builtins.list[str]:
        """Submit again what was interrupted; return the ids of these screens."""
        return await asyncio.to_thread(self._watch.resume) if self.is_on else []

    async def watch(self, interval_s: float = INTERVAL_S) -> None:
        """Look after the screens until cancelled: resume them, count their profiles. One process does it."""
        if self.is_on:
            await self._watch.run(interval_s)


def _screens_are_off() -> Problem:
    detail = "This server keeps no screens. Its administrator gives them a folder with screens.folder."
    return Problem(title="Screens are off", status=404, detail=detail)
