"""What state a screen is in: by its files first, and by its job where they leave that open."""

from __future__ import annotations

import logging
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Final

from pertcast.screens.progress import ScreenProgress, screen_progress
from pertcast_data.errors import PertcastError

from pertcast_serve.schemas.screens import Screen, ScreenState
from pertcast_serve.screens.folder import ScreenFolder
from pertcast_serve.screens.jobs import JobState, JobsUnavailable, ScreenJobs
from pertcast_serve.screens.messages import error_in, in_our_words
from pertcast_serve.screens.rate import ScreenRate, screen_rate

log = logging.getLogger(__name__)

ENDED: Final = ("finished", "failed", "cancelled")
_KEPT: Final = 4_096
_NOTHING: Final = ScreenProgress(0, None, False)
_HELD: Final = "is being computed by another process"
_JOB_ENDED: Final = ("succeeded", "failed", "stopped")
SUBMITTED_WITHIN_S: Final = 15.0
"""A screen that is not known by then to what runs screens is told to wait for it."""
_NOT_REACHED: Final = "What runs screens cannot be reached now; the screen is kept, and goes on by itself."
_NOT_TAKEN: Final = (
    "What runs screens does not take it now; it is offered again every few seconds. If this lasts, an "
    "administrator finds the reason in the server's log."
)


def is_ended(screen: Screen) -> bool:
    """Return whether a screen is in its final state."""
    return screen.state in ENDED


class ScreenStates:
    """Reads the states of screens; those that are final are read once.

    Parameters
    ----------
    jobs
        What runs the screens.
    """

    def __init__(self, jobs: ScreenJobs) -> None:
        self._jobs = jobs
        self._final: OrderedDict[str, Screen] = OrderedDict()

    def of(self, folder: ScreenFolder) -> Screen:
        """Return a screen as it is now; a job that failed is noted in its folder."""
        known = self._final.get(folder.id)
        if known is not None:
            return known
        found = self._read(folder)
        if is_ended(found):
            self._final[folder.id] = found
            while len(self._final) > _KEPT:
                self._final.popitem(last=False)
        return found

    def job_of(self, folder: ScreenFolder) -> JobState:
        """Return how the latest job of a screen is; raises JobsUnavailable."""
        attempts = folder.attempts
        if not attempts:
            return "unknown"
        job = folder.job(attempts[-1].number)
        state = self._jobs.status(job)
        # An earlier job, of a cluster that was believed gone, still held the screen: it is tried again.
        if state == "failed" and _HELD in self._jobs.log_tail(job):
            return "lost"
        return state

    def _read(self, folder: ScreenFolder) -> Screen:
        state, message = self._state(folder)
        try:
            progress = screen_progress(folder.out)
        except PertcastError as error:
            return self._screen(folder, "failed", _NOTHING, message or _plain(folder, str(error)))
        return self._screen(folder, state, progress, message)

    def _state(self, folder: ScreenFolder) -> tuple[ScreenState, str]:
        if folder.is_finished:
            return "finished", ""
        if folder.is_cancelled:
            return "cancelled", ""
        if (failure := folder.failure) is not None:
            return "failed", failure
        try:
            job = self.job_of(folder)
        except JobsUnavailable as error:
            log.warning("no jobs can be reached", extra={"screen": folder.id, "reason": str(error)})
            return ("running" if folder.out.is_dir() else "queued"), _NOT_REACHED
        if job not in _JOB_ENDED:
            if job == "unknown" and _waits_long(folder):
                return "queued", _NOT_TAKEN
            return ("running" if job == "running" else "queued"), ""
        # It may have ended well, or been cancelled, after these files were looked for.
        if folder.is_finished:
            return "finished", ""
        if folder.is_cancelled:
            return "cancelled", ""
        message = self._why(folder, job)
        folder.mark_failed(message)
        return "failed", message

    def _why(self, folder: ScreenFolder, job: JobState) -> str:
        if job == "stopped":
            return "Its job was stopped by other means than this interface. Send the screen again."
        return _plain(folder, error_in(self._jobs.log_tail(folder.job(folder.attempts[-1].number))))

    def _screen(
        self, folder: ScreenFolder, state: ScreenState, progress: ScreenProgress, message: str
    ) -> Screen:
        record = folder.record
        rate = ScreenRate()
        if state == "running":
            rate = screen_rate(folder.out, progress, folder.attempts[-1].began if folder.attempts else 0.0)
        return Screen(
            id=record.id,
            title=record.title,
            kind=record.kind,
            model=record.model,
            state=state,
            submitted_at=record.submitted_at,
            submitted_by=record.caller_name,
            n_done=progress.n_done,
            n_profiles=progress.n_profiles,
            profiles_per_s=rate.profiles_per_s,
            eta_s=rate.eta_s,
            message=message,
        )


def _waits_long(folder: ScreenFolder) -> bool:
    """Return whether a screen was offered long ago to what runs screens, which knows nothing of it."""
    waited = datetime.now(UTC) - datetime.fromisoformat(folder.record.submitted_at)
    return bool(folder.attempts) and waited.total_seconds() > SUBMITTED_WITHIN_S


def _plain(folder: ScreenFolder, message: str) -> str:
    return in_our_words(message, folder.record.words)
