"""Starts the jobs of screens, and starts those again that were killed.

Ids of jobs follow from the screen and the number of the attempt, so that two processes that start the same
one start it once.
"""

from __future__ import annotations

import logging
from typing import Final

from pertcast.screens.progress import screen_progress
from pertcast_data.errors import PertcastError

from pertcast_serve.screens.folder import Attempt, ScreenFolder
from pertcast_serve.screens.jobs import JobsUnavailable, ScreenJobs
from pertcast_serve.screens.states import ScreenStates, is_ended

log = logging.getLogger(__name__)

MOST_AT_ONE_PLACE: Final = 3
"""Jobs that may be killed one after the other before a new profile is written."""


class ScreenStarter:
    """Starts screens.

    Parameters
    ----------
    jobs
        What runs them.
    states
        Knows how they are.
    """

    def __init__(self, jobs: ScreenJobs, states: ScreenStates) -> None:
        self._jobs = jobs
        self._states = states

    def start(self, folder: ScreenFolder) -> bool:
        """Submit a screen whose latest job is unknown or was killed; return whether one was submitted.

        Where no jobs can be reached the screen stays queued, and is submitted at the next call.
        """
        if is_ended(self._states.of(folder)):
            return False
        try:
            return self._submit(folder)
        except JobsUnavailable as error:
            log.warning("a screen waits for jobs", extra={"screen": folder.id, "reason": str(error)})
            return False

    def _submit(self, folder: ScreenFolder) -> bool:
        attempts = folder.attempts
        job = self._states.job_of(folder)
        if job in ("queued", "running"):
            return False
        if job == "lost":
            if _is_stuck(attempts, _done(folder)):
                folder.mark_failed(
                    f"Its job was killed {MOST_AT_ONE_PLACE} times before it had written another profile, "
                    "probably for want of memory. Ask an administrator for larger workers, or screen less "
                    "at once."
                )
                return False
            number = attempts[-1].number + 1
        elif job == "unknown":
            number = attempts[-1].number if attempts else 1
        else:
            return False
        folder.begin_attempt(number, _done(folder))
        name = folder.job(number)
        self._jobs.submit(name, folder.record.argv)
        if folder.is_cancelled:
            # It was cancelled after its state was read: nobody else knows this job.
            self._jobs.stop(name)
        log.info("a screen was submitted", extra={"screen": folder.id, "attempt": number})
        return True


def _done(folder: ScreenFolder) -> int:
    try:
        return screen_progress(folder.out).n_done
    except PertcastError:
        return 0


def _is_stuck(attempts: list[Attempt], n_done: int) -> bool:
    latest = attempts[-MOST_AT_ONE_PLACE:]
    return len(latest) == MOST_AT_ONE_PLACE and all(attempt.n_done == n_done for attempt in latest)
