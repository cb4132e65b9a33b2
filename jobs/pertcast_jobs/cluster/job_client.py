"""What every way to a cluster's jobs can do, so that `pertcast job` is the same over Ray and Kubernetes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from pertcast_data.errors import ConfigError, PertcastError

PENDING: Final = "PENDING"
RUNNING: Final = "RUNNING"
STOPPED: Final = "STOPPED"
SUCCEEDED: Final = "SUCCEEDED"
FAILED: Final = "FAILED"
ENDED: Final = frozenset({STOPPED, SUCCEEDED, FAILED})
"""Statuses that no longer change."""

UNKNOWN_EXIT_CODE: Final = 1
"""What a job ends with here where the cluster knows no code of its process (a stop, a lost node)."""

_SIGNAL_BASE: Final = 128


class JobFailed(PertcastError):
    """The cluster does not take a job, or a job cannot be reached any more."""


class NoSuchJob(ConfigError):
    """The cluster knows no job of this id."""


class AlreadyThere(LookupError):
    """The cluster has a job, or an object, of this name."""


@dataclass(frozen=True)
class JobRow:
    """One job as a cluster tells it.

    Attributes
    ----------
    submission_id
        The job's name in every command of `pertcast job`.
    status
        PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED.
    entrypoint
        The shell line that the cluster runs.
    message
        What the cluster says about the status; empty where it says nothing.
    started, ended
        ISO 8601 times (UTC), or None where the job has not come so far.
    exit_code
        The code of the job's process, or None while it runs and where the cluster knows none.
    words
        The pertcast command, or None for a job that `pertcast job` did not make.
    command_id
        What tells whether two submissions ask the same, or None as for `words`; see `Asked`.
    """

    submission_id: str
    status: str
    entrypoint: str
    message: str = ""
    started: str | None = None
    ended: str | None = None
    exit_code: int | None = None
    words: tuple[str, ...] | None = None
    command_id: str | None = None

    @property
    def command_line(self) -> str:
        """The pertcast command for people; the entrypoint of a job that `pertcast job` did not make."""
        return self.entrypoint if self.words is None else shlex.join(("pertcast", *self.words))


def shell_code(code: int | None) -> int | None:
    """Return a process's code as a shell tells it: where a signal ended it, 128 more than the signal."""
    return _SIGNAL_BASE - code if code is not None and code < 0 else code


class ClusterJobs(Protocol):
    """The jobs of one cluster.

    A submission id that the cluster does not know is a NoSuchJob of every method that takes one.
    """

    def submit(self, words: Sequence[str], submission_id: str | None = None) -> str:
        """Run a pertcast command line as a job and return its id.

        A job of the same id and command that is pending or runs is not started again: its id is returned.
        One that has ended is run again under the id with the next free number (``-2``, ``-3``...), so that
        its output is kept, and goes on where the earlier one had come.

        Parameters
        ----------
        words
            The command line without the program's name; see `pertcast_jobs.cluster.command.job_command`.
        submission_id
            Id of the job; follows from the command where None.

        Raises
        ------
        ConfigError
            The words cannot be a job, or the id is another command's.
        JobFailed
            The cluster does not take the job.
        """
        ...

    def describe(self, submission_id: str) -> JobRow:
        """Return what the cluster knows of a job."""
        ...

    def logs(self, submission_id: str) -> str:
        """Return what the job has printed so far."""
        ...

    def follow(self, submission_id: str) -> Iterator[str]:
        """Yield the job's output as it grows, until the job ends.

        A cut connection is taken up again; nothing is lost or repeated.

        Raises
        ------
        JobFailed
            The cluster could not be reached again.
        """
        ...

    def wait(self, submission_id: str) -> JobRow:
        """Wait for the job's end and return what the cluster knows of it then.

        Its `exit_code` is the process's: 0 done, 1 failed, 2 usage, 130 interrupted, 143 preempted or stopped
        while it tidied up.

        Raises
        ------
        JobFailed
            The cluster could not be reached again.
        """
        ...

    def stop(self, submission_id: str) -> bool:
        """Ask the job to stop; returns whether it was pending or running."""
        ...

    def list(self) -> list[JobRow]:
        """Return the cluster's jobs, newest first."""
        ...
