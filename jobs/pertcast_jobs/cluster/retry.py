"""Asking a cluster again that does not answer for a while: a cut network, a head that starts anew."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from pertcast_jobs.cluster.job_client import ENDED, JobFailed, JobRow

PATIENCE_S: Final = 600.0
"""Seconds without an answer after which a cluster is given up."""

PAUSE_S: Final = 2.0
Answer = TypeVar("Answer")


class Unreachable(JobFailed):
    """The cluster gives no answer, or an error of its own, at the moment."""


class Patience:
    """Counts the time since a cluster last answered.

    Parameters
    ----------
    what
        What is waited for, for the error.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self.answered()

    def answered(self) -> None:
        """Begin to count anew."""
        self._since = time.monotonic()

    def pause(self, error: BaseException) -> None:
        """Wait a moment before the next try; raises JobFailed where it has taken too long."""
        if time.monotonic() - self._since > PATIENCE_S:
            raise JobFailed(
                f"No answer about {self._what} for {PATIENCE_S:.0f} s: {error} The job itself may go on; "
                "look again with `pertcast job status` when the cluster answers."
            ) from error
        time.sleep(PAUSE_S)


def patiently(call: Callable[[], Answer], what: str) -> Answer:
    """Return the answer of `call`, asked again while the cluster is unreachable.

    Raises
    ------
    JobFailed
        No answer for `PATIENCE_S`.
    """
    patience = Patience(what)
    while True:
        try:
            return call()
        except Unreachable as error:
            patience.pause(error)


def until_ended(describe: Callable[[], JobRow], what: str, poll_s: float) -> JobRow:
    """Ask patiently for a job until it has ended, and return it; raises as `patiently`."""
    while (row := patiently(describe, what)).status not in ENDED:
        time.sleep(poll_s)
    return row
