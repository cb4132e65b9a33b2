"""From a request to a screen's folder: quotas, keys of idempotency, and what a screen is refused for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from pertcast_serve.access.caller import Caller
from pertcast_serve.config import Limits, ScreenSettings
from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.screens import ScreenEstimate, ScreenRequest
from pertcast_serve.screens.command import ScreenCommand
from pertcast_serve.screens.folder import ScreenFolder, ScreenRecord
from pertcast_serve.screens.identifiers import new_identifier
from pertcast_serve.screens.states import ScreenStates, is_ended
from pertcast_serve.screens.store import Keyed, ScreenStore


@dataclass(frozen=True, slots=True)
class Submission:
    """One POST of a screen.

    Attributes
    ----------
    request, caller
        What is asked for, and by whom.
    key
        Its Idempotency-Key; None where it has none.
    """

    request: ScreenRequest
    caller: Caller
    key: str | None

    @property
    def request_hash(self) -> str:
        """SHA-256 of what is asked for."""
        return hashlib.sha256(self.request.model_dump_json().encode()).hexdigest()


class ScreenDesk:
    """Takes in requests: decides whether a screen may begin, and makes its folder.

    Parameters
    ----------
    store, states
        The screens, and how they are.
    settings, limits
        Of the server.
    """

    def __init__(
        self, store: ScreenStore, states: ScreenStates, settings: ScreenSettings, limits: Limits
    ) -> None:
        self._store, self._states = store, states
        self._settings, self._limits = settings, limits

    @property
    def options(self) -> list[str]:
        """Words that say how shards are computed."""
        words = [f"--executor={self._settings.executor}"]
        return words if self._settings.workers is None else [*words, f"--workers={self._settings.workers}"]

    def earlier(self, submission: Submission) -> ScreenFolder | Problem | None:
        """Return the screen that the key began, a 409 where it came with another body, or None."""
        keyed = self._keyed(submission)
        if keyed is None:
            return None
        if keyed.request_hash != submission.request_hash:
            detail = (
                f"This Idempotency-Key came with another request, which began screen {keyed.screen}. Send a "
                "new key with a new request."
            )
            return Problem(title="Key used before", status=409, detail=detail)
        # Without a folder: a server ended between the key and the screen, which is begun now.
        return self._store.find(keyed.screen)

    def _keyed(self, submission: Submission) -> Keyed | None:
        return None if submission.key is None else self._store.keyed(submission.caller.id, submission.key)

    def over_quota(self, caller: Caller) -> Problem | None:
        """Return a 429 where the caller has as many screens queued or running as one may have."""
        running = sum(not is_ended(self._states.of(folder)) for folder in self._store.of(caller.id))
        if running < self._limits.running_screens:
            return None
        detail = (
            f"{running} screens of {caller.name} are queued or running. Wait for one to end, or cancel one "
            "(DELETE /v1/screens/{id})."
        )
        return Problem(title="Too many screens", status=429, detail=detail)

    def too_large(self, estimate: ScreenEstimate) -> Problem | None:
        """Return a 422 where a screen has more profiles than one may have."""
        if estimate.n_profiles <= self._limits.screen_profiles:
            return None
        detail = (
            f"The screen would have {estimate.n_profiles:,} profiles; one may have "
            f"{self._limits.screen_profiles:,}. Name fewer rows, cell lines, doses or times, or split it."
        )
        return Problem(title="Screen too large", status=422, detail=detail)

    def begin(self, submission: Submission, command: ScreenCommand, model: str) -> ScreenFolder | Problem:
        """Make the folder of a new screen, or return the one that the same key began meanwhile."""
        with self._store.alone(submission.caller.id):
            earlier = self.earlier(submission)
            if earlier is not None:
                return earlier
            if (problem := self.over_quota(submission.caller)) is not None:
                return problem
            keyed = self._keyed(submission)
            identifier = new_identifier() if keyed is None else keyed.screen
            if submission.key is not None:
                key = Keyed(identifier, submission.request_hash)
                self._store.keep_key(submission.caller.id, submission.key, key)
            record = self._record(identifier, submission, command, model)
            return self._store.begin(record, command.write_lists)

    def _record(
        self, identifier: str, submission: Submission, command: ScreenCommand, model: str
    ) -> ScreenRecord:
        folder = ScreenFolder(self._store.place_of(identifier))
        request = submission.request
        argv = [*command.words(folder.path), f"--out={folder.out}", *self.options]
        return ScreenRecord(
            id=identifier,
            title=request.title,
            kind=request.kind,
            model=model,
            bundle=command.bundle,
            caller_id=submission.caller.id,
            caller_name=submission.caller.name,
            submitted_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            request=request.model_dump(mode="json", exclude={"rows"}),
            request_hash=submission.request_hash,
            argv=argv,
            words={**command.names(folder.path, model), str(folder.out): f"screen {identifier}"},
        )
