"""What runs screens: a job a screen, known by an id that follows from the screen's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

JobState = Literal["unknown", "queued", "running", "succeeded", "failed", "stopped", "lost"]
"""`failed`: it ended by itself, with an error. `lost`: it was killed, or the machine that ran it is gone."""


class JobsUnavailable(Exception):
    """Nothing that runs jobs can be reached now; what it was asked may be asked again later."""


class ScreenJobs(Protocol):
    """Runs `pertcast` command lines beside the server, and goes on when the server ends.

    All methods may be called from several threads and raise JobsUnavailable.
    """

    def submit(self, job: str, argv: Sequence[str]) -> None:
        """Start `pertcast *argv` as the job of this id; nothing happens where there is such a job already."""

    def status(self, job: str) -> JobState:
        """Return how a job is."""

    def stop(self, job: str) -> None:
        """End a job and what it started; nothing happens where none runs."""

    def log_tail(self, job: str) -> str:
        """Return the end of what a job printed; "" where nothing is known of it."""
