"""Jobs of a Ray cluster, through the Ray Jobs API.

A job is one `pertcast` command line. On a local head this process's interpreter runs it in this folder; to
any other cluster the code of this installation travels with it.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlparse

from pertcast_data.errors import ConfigError
from ray.job_submission import JobDetails

from pertcast_jobs.cluster import command
from pertcast_jobs.cluster.code_archive import sent_files, write_archive
from pertcast_jobs.cluster.job_client import ENDED, JobFailed, JobRow, NoSuchJob, shell_code
from pertcast_jobs.cluster.ray_client import WatchedClient
from pertcast_jobs.cluster.ray_logs import follow_logs
from pertcast_jobs.cluster.retry import Unreachable, until_ended
from pertcast_jobs.cluster.submission import Asked, submit
from pertcast_jobs.run_folder import REVISION_VARIABLE, git_revision

DEFAULT_ADDRESS: Final = "http://127.0.0.1:8265"
STOP_WAIT_S: Final = 60
"""Seconds from SIGTERM to SIGKILL when a job is stopped; Ray's own 3 s are too short for a checkpoint."""

CLUSTER_PYTHON: Final = "python"
"""Program of a job whose code is sent: the image's, found on the PATH of the head."""

_WORDS: Final = "pertcast.words"
"""Key of a job's metadata: the command's words as JSON."""

_COMMAND_ID: Final = "pertcast.command_id"
_NO_AGENT: Final = "No available agent"
_POLL_S: Final = 1.0


def cluster_address(address: str | None) -> str:
    """Return the Jobs API's address: the given one, RAY_API_SERVER_ADDRESS, or the local head's.

    Raises
    ------
    ConfigError
        It is no address of HTTP.
    """
    given = address or os.environ.get("RAY_API_SERVER_ADDRESS") or DEFAULT_ADDRESS
    found = given if "://" in given else f"http://{given}"
    try:
        parts = urlparse(found)
        is_http = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none
        is_http = False
    if not is_http:
        raise ConfigError(
            f"{given} is no address of a Ray cluster's Jobs API: give http://HOST:8265 to --address, or in "
            "RAY_API_SERVER_ADDRESS."
        )
    return found.rstrip("/")


def is_local(address: str) -> bool:
    """Return whether an address is this machine's (a forwarded port looks the same: `--ship` says so)."""
    return urlparse(address).hostname in ("127.0.0.1", "localhost", "::1")


def _time(milliseconds: int | None) -> str | None:
    if not milliseconds:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


def _row(job: JobDetails) -> JobRow:
    told = job.metadata or {}
    return JobRow(
        submission_id=str(job.submission_id),
        status=str(job.status.value),
        entrypoint=job.entrypoint,
        message=job.message or "",
        started=_time(job.start_time),
        ended=_time(job.end_time),
        exit_code=shell_code(job.driver_exit_code),
        words=tuple(json.loads(told[_WORDS])) if _WORDS in told else None,
        command_id=told.get(_COMMAND_ID),
    )


class RayJobs:
    """The jobs of one Ray cluster; the methods are those of `ClusterJobs`.

    Parameters
    ----------
    address
        Address of the Jobs API; see `cluster_address`.
    ship
        Whether the code travels with a job; where None, to every address that is not this machine's.
    files
        Further files that travel with a job.
    token
        The cluster's token; RAY_AUTH_TOKEN's where None.
    who
        Who is asked, for errors; the Ray cluster at the address where None.

    Raises
    ------
    ConfigError
        The address is none of a Jobs API.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        ship: bool | None = None,
        files: Sequence[Path] = (),
        token: str | None = None,
        who: str | None = None,
    ) -> None:
        self.address = cluster_address(address)
        self._is_remote = ship is True or not is_local(self.address)
        self._ships = self._is_remote if ship is None else ship
        self._files = tuple(files)
        headers = None if token is None else {"Authorization": f"Bearer {token}"}
        self._client = WatchedClient(self.address, headers, who)

    def check(self) -> None:
        """Raise ConfigError where the cluster does not take the token, `Unreachable` where it is silent."""
        self._client.check()

    def submit(self, words: Sequence[str], submission_id: str | None = None) -> str:
        """Run a pertcast command line as a job and return its id; see `ClusterJobs.submit`."""
        whole = command.job_command(words)
        parsed = command.parse_command(whole, configs_here=self._ships or not self._is_remote)
        if self._is_remote:
            command.require_lasting_out(parsed)
            asked = Asked.sent(*sent_files(parsed, self._files))
        elif self._files:
            raise ConfigError("A job on this machine reads its files where they are: leave out --file.")
        else:
            asked = Asked.here(parsed)
        return submit(self, asked, submission_id)

    def create(self, submission_id: str, asked: Asked) -> None:
        """Start a job; see `Backend`."""
        with tempfile.TemporaryDirectory() as folder:
            environment = self._environment(Path(folder), asked.files)
            try:
                self._client.submit_job(
                    entrypoint=self._entrypoint(asked.words),
                    submission_id=submission_id,
                    runtime_env=environment,
                    metadata={_WORDS: json.dumps(asked.words), _COMMAND_ID: asked.command_id},
                )
            except Unreachable as error:
                if _NO_AGENT not in str(error):
                    raise
                raise JobFailed(
                    f"The cluster at {self.address} did not take the job: {error} Look at `ray status`; a "
                    "head that shares its machine with another needs ports of its own "
                    "(--dashboard-agent-listen-port)."
                ) from error

    def describe(self, submission_id: str) -> JobRow:
        """Return what the cluster knows of a job."""
        try:
            return _row(self._client.get_job_info(submission_id))
        except LookupError as error:
            known = ", ".join(job.submission_id for job in self.list()) or "none"
            raise NoSuchJob(f"No job {submission_id!r} at {self.address}; known: {known}.") from error

    def logs(self, submission_id: str) -> str:
        """Return what the job has printed so far."""
        self.describe(submission_id)
        return str(self._client.get_job_logs(submission_id))

    def follow(self, submission_id: str) -> Iterator[str]:
        """Yield the job's output as it grows, until the job ends; see `ClusterJobs.follow`."""
        self.describe(submission_id)
        yield from follow_logs(
            lambda: self.tail(submission_id),
            has_ended=lambda: self.describe(submission_id).status in ENDED,
            whole=lambda: self.logs(submission_id),
            what=f"job {submission_id} at {self.address}",
        )

    def tail(self, submission_id: str) -> AsyncIterator[str]:
        """Return a connection that sends the job's output from its beginning on; see `follow_logs`."""
        return self._client.tail_job_logs(submission_id)

    def wait(self, submission_id: str) -> JobRow:
        """Wait for the job's end and return what the cluster knows of it then; see `ClusterJobs.wait`."""
        what = f"job {submission_id} at {self.address}"
        return until_ended(lambda: self.describe(submission_id), what, _POLL_S)

    def stop(self, submission_id: str) -> bool:
        """Ask the job to stop (SIGTERM, after `STOP_WAIT_S` SIGKILL); returns whether it was running."""
        if self.describe(submission_id).status in ENDED:
            return False
        return bool(self._client.stop_job(submission_id))

    def list(self) -> list[JobRow]:
        """Return all submitted jobs, newest first."""
        jobs = self._client.list_jobs()
        jobs.sort(key=lambda job: job.start_time or 0, reverse=True)
        return [_row(job) for job in jobs if job.submission_id]

    def _entrypoint(self, words: Sequence[str]) -> str:
        if self._ships:
            return command.entrypoint(words, (CLUSTER_PYTHON, "-m", "pertcast_jobs.cluster.shipped"))
        if self._is_remote:
            return command.entrypoint(words)
        program = command.entrypoint(words, (sys.executable, "-m", "pertcast_jobs"))
        return f"cd {shlex.quote(os.getcwd())} && exec {program}"

    def _environment(self, folder: Path, files: Mapping[str, Path]) -> dict[str, Any]:
        """Return the job's runtime environment; the archive that it names lies in `folder`."""
        variables = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)}
        environment: dict[str, Any] = {"env_vars": variables}
        if self._ships or files:
            archive = folder / "pertcast.zip"
            write_archive(archive, code=self._ships, files=files)
            environment["working_dir"] = str(archive)
        if self._ships and (revision := git_revision()) is not None:
            variables[REVISION_VARIABLE] = revision
        return environment
