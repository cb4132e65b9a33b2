"""Screens as jobs of a Ray cluster, through the Ray Jobs API; Ray is imported when one is asked for.

Tokens come from Ray's own environment (RAY_AUTH_MODE, RAY_AUTH_TOKEN), which its client reads.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any, Final, TypeVar
from urllib.parse import urlparse

from pertcast_serve.screens.jobs import JobState, JobsUnavailable

_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_ADDRESS_VARIABLE: Final = "RAY_API_SERVER_ADDRESS"
_SIGNALLED: Final = 128
"""A shell reports a command that a signal ended by 128 and the signal's number."""
_OWN_ERRORS: Final = ("JOB_ENTRYPOINT_COMMAND_ERROR", "RUNTIME_ENV_SETUP_FAILURE")
_Answer = TypeVar("_Answer")


def entrypoint(argv: Sequence[str], address: str) -> str:
    """Return the shell line that runs `pertcast *argv` where the jobs of `address` run.

    On this machine this process's own interpreter runs it; on a cluster the image's `pertcast` does.
    """
    is_here = urlparse(address).hostname in _LOOPBACK
    program = [sys.executable, "-m", "pertcast_jobs"] if is_here else ["pertcast"]
    return f"exec {shlex.join([*program, *argv])}"


class RayJobs:
    """The jobs of one cluster.

    Parameters
    ----------
    address
        Address of the Jobs API (http://head:8265); that of the Ray that this process belongs to where None.
    """

    def __init__(self, address: str | None = None) -> None:
        self._address = address
        self._client: Any = None
        self._lock = Lock()

    def submit(self, job: str, argv: Sequence[str]) -> None:
        """Start a job; one of this id that is there already is left as it is."""

        def start(client: Any) -> None:
            client.submit_job(
                entrypoint=entrypoint(argv, client.get_address()),
                submission_id=_submission(job),
                runtime_env={"env_vars": {"RAY_USAGE_STATS_ENABLED": "0"}},
            )

        try:
            self._ask(start)
        except JobsUnavailable:
            # Taken by another process meanwhile, or by this one before the answer was lost.
            if self.status(job) == "unknown":
                raise

    def status(self, job: str) -> JobState:
        """Return how a job is."""
        found = self._ask(lambda client: _details(client, _submission(job)))
        if found is None:
            return "unknown"
        status = str(found.status.value)
        if status == "FAILED":
            return "lost" if _was_killed(found) else "failed"
        states: dict[str, JobState] = {
            "PENDING": "queued",
            "RUNNING": "running",
            "STOPPED": "stopped",
            "SUCCEEDED": "succeeded",
        }
        return states[status]

    def stop(self, job: str) -> None:
        """End a job; Ray kills what has not ended a few seconds after it was asked to."""
        if self.status(job) in ("queued", "running"):
            self._ask(lambda client: client.stop_job(_submission(job)))

    def log_tail(self, job: str) -> str:
        """Return what a job printed, or why it could not begin."""

        def read(client: Any) -> str:
            details = _details(client, _submission(job))
            if details is None:
                return ""
            if details.error_type != "JOB_ENTRYPOINT_COMMAND_ERROR" and details.driver_exit_code is None:
                return str(details.message or "")
            return str(client.get_job_logs(_submission(job)))

        return self._ask(read)

    def _ask(self, question: Callable[[Any], _Answer]) -> _Answer:
        try:
            return question(self._connected())
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            # The head may come back at another address.
            self._client = None
            said = str(error).splitlines() or [type(error).__name__]
            raise JobsUnavailable(
                f"The Ray Jobs API at {self._address or 'this Ray'} did not answer: {said[0][:300]}"
            ) from error

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = _client_of(self._address)
            return self._client


def _submission(job: str) -> str:
    return f"pertcast-screen-{job}"


def _client_of(address: str | None) -> Any:
    import ray
    from ray.job_submission import JobSubmissionClient

    if address is None:
        return JobSubmissionClient(ray.get_runtime_context().gcs_address)
    with _preferred(address):
        return JobSubmissionClient(address)


@contextmanager
def _preferred(address: str) -> Iterator[None]:
    """Let a configured address count: Ray prefers RAY_ADDRESS, which pods have, to any argument."""
    before = os.environ.get(_ADDRESS_VARIABLE)
    os.environ[_ADDRESS_VARIABLE] = address
    try:
        yield
    finally:
        if before is None:
            del os.environ[_ADDRESS_VARIABLE]
        else:
            os.environ[_ADDRESS_VARIABLE] = before


def _details(client: Any, submission: str) -> Any | None:
    """Return what is known of a job; None where there is no such job."""
    try:
        return client.get_job_info(submission)
    except RuntimeError as error:
        if "404" in str(error):
            return None
        raise


def _was_killed(details: Any) -> bool:
    """Return whether a failed job was ended from outside: by a signal, or with the machine that ran it."""
    code = details.driver_exit_code
    if code is not None:
        return bool(code < 0 or code >= _SIGNALLED)
    return details.error_type not in _OWN_ERRORS
