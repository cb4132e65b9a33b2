"""Runs Pertcast commands as jobs of a Ray cluster, through the Ray Jobs API.

A job is one `pertcast` command line. Its submission id follows from what the cluster is asked to run, so that
submitting the same command twice while it runs does not start it twice.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlparse

from pertcast_data.errors import ConfigError, PertcastError
from ray.job_submission import JobStatus, JobSubmissionClient

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
JOB_COMMANDS = ("data", "train", "tune", "evaluate", "screen")
"""Commands that may run as a job; anything else after `job submit` is the CONFIG of a `train`."""

_POLL_S = 1.0


class JobFailed(PertcastError):
    """A job ended without success."""


@dataclass(frozen=True)
class JobRow:
    """One job as listed: id, status, command and message of the cluster."""

    submission_id: str
    status: str
    entrypoint: str
    message: str


def cluster_address(address: str | None) -> str:
    """Return the Jobs API's address: the given one, RAY_API_SERVER_ADDRESS, or the local head's."""
    return address or os.environ.get("RAY_API_SERVER_ADDRESS") or DEFAULT_ADDRESS


def _is_local(address: str) -> bool:
    return urlparse(address).hostname in ("127.0.0.1", "localhost", "::1")


def job_command(words: Sequence[str]) -> list[str]:
    """Return the full command: `train` is put before a CONFIG; raises ConfigError for an empty one."""
    if not words:
        raise ConfigError("job submit: give a CONFIG to train, or a command such as `evaluate RUN`.")
    return list(words) if words[0] in JOB_COMMANDS else ["train", *words]


def job_entrypoint(words: Sequence[str], address: str) -> str:
    """Return the shell line of a job.

    On a local head the interpreter of this process runs it (a bare `python` would be looked up on the
    head's PATH) in the current folder, so that relative paths mean what they mean here; on a cluster the
    image's `pertcast` does.
    """
    if not _is_local(address):
        return shlex.join(["pertcast", *job_command(words)])
    program = shlex.join([sys.executable, "-m", "pertcast_jobs", *job_command(words)])
    return f"cd {shlex.quote(os.getcwd())} && exec {program}"


def submission_id_of(words: Sequence[str], address: str) -> str:
    """Return the id that follows from the command, e.g. ``pertcast-train-1f0c9a2b3c``."""
    digest = hashlib.sha256(job_entrypoint(words, address).encode()).hexdigest()[:10]
    return f"pertcast-{job_command(words)[0]}-{digest}"


class Jobs:
    """The jobs of one cluster.

    Parameters
    ----------
    address
        Address of the Jobs API; see `cluster_address`.

    Raises
    ------
    ConfigError
        Nothing answers at the address.
    """

    def __init__(self, address: str | None = None) -> None:
        self.address = cluster_address(address)
        try:
            self._client = JobSubmissionClient(self.address)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigError(
                f"No Ray cluster answers at {self.address}: {str(error).splitlines()[0]} Start one with "
                "`ray start --head`, give --address, and set the same RAY_AUTH_TOKEN on both sides."
            ) from error

    def submit(self, words: Sequence[str], submission_id: str | None = None) -> str:
        """Submit a command and return its id; a job that runs already is not started again.

        One that has ended is run again under its id with a number, so that its output is kept.

        Raises
        ------
        JobFailed
            The cluster does not take the job.
        """
        base = submission_id or submission_id_of(words, self.address)
        same = re.compile(rf"{re.escape(base)}(-\d+)?")
        earlier = [job for job in self.list() if same.fullmatch(job.submission_id)]
        for job in earlier:
            if job.status in (JobStatus.PENDING.value, JobStatus.RUNNING.value):
                return job.submission_id
        wanted = f"{base}-{len(earlier) + 1}" if earlier and submission_id is None else base
        try:
            submitted = self._client.submit_job(
                entrypoint=job_entrypoint(words, self.address),
                submission_id=wanted,
                runtime_env={"env_vars": {"RAY_USAGE_STATS_ENABLED": "0"}},
            )
        except RuntimeError as error:
            raise JobFailed(
                f"The cluster at {self.address} did not take the job: {error} Look at `ray status`; a head "
                "that shares its machine with another needs ports of its own (--dashboard-agent-listen-port)."
            ) from error
        return str(submitted)

    def status(self, submission_id: str) -> str:
        """Return PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED."""
        try:
            return str(self._client.get_job_status(submission_id).value)
        except RuntimeError as error:
            known = ", ".join(job.submission_id for job in self.list()) or "none"
            raise ConfigError(f"No job {submission_id!r} at {self.address}; known: {known}.") from error

    def logs(self, submission_id: str) -> str:
        """Return what the job has printed so far."""
        self.status(submission_id)
        return str(self._client.get_job_logs(submission_id))

    def follow(self, submission_id: str) -> Iterator[str]:
        """Yield the job's output as it grows, until the job ends."""
        shown = 0
        while True:
            ended = JobStatus(self.status(submission_id)).is_terminal()
            text = self.logs(submission_id)
            if len(text) > shown:
                yield text[shown:]
                shown = len(text)
            if ended:
                return
            time.sleep(_POLL_S)

    def wait(self, submission_id: str) -> str:
        """Wait for the job's end and return its status; raises JobFailed with the cluster's message."""
        while not JobStatus(self.status(submission_id)).is_terminal():
            time.sleep(_POLL_S)
        status = self.status(submission_id)
        if status != JobStatus.SUCCEEDED.value:
            message = self._client.get_job_info(submission_id).message or "see its logs"
            raise JobFailed(f"Job {submission_id} ended as {status}: {message}")
        return status

    def stop(self, submission_id: str) -> bool:
        """Ask the job to stop; returns whether it was running."""
        self.status(submission_id)
        return bool(self._client.stop_job(submission_id))

    def list(self) -> list[JobRow]:
        """Return all submitted jobs, newest first."""
        jobs = sorted(self._client.list_jobs(), key=lambda job: job.start_time or 0, reverse=True)
        return [
            JobRow(str(job.submission_id), str(job.status.value), str(job.entrypoint), str(job.message or ""))
            for job in jobs
            if job.submission_id
        ]
