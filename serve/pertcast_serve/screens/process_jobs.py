"""Screens as processes of this machine: what `pertcast serve` runs them with where it started its own Ray.

A process outlives the server that started it; its files tell any server afterwards how it is.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]

from pertcast_serve.screens.estimates import PROGRAM
from pertcast_serve.screens.jobs import JobState, JobsUnavailable

_PID: Final = "pid"
_LOG: Final = "log"
_CODE: Final = "code"
_STOPPED: Final = "stopped"
_SIGNALLED: Final = 128
"""A shell reports a command that a signal ended by 128 and the signal's number."""
_STARTING_S: Final = 30.0
"""A job that has no process by then was never started: its server died meanwhile."""
_TAIL_BYTES: Final = 64 << 10
_ENDS_WITHIN_S: Final = 10.0
_NOT_INHERITED: Final = ("RAY_ADDRESS", "RAY_JOB_ID", "RAY_RAYLET_PID", "CUDA_VISIBLE_DEVICES")
"""What Ray sets for its own workers: a screen is none of them."""


class ProcessJobs:
    """Jobs as processes of this machine.

    Parameters
    ----------
    folder
        Holds one folder a job: its log, its process and how it ended.
    program
        What is run with a job's words.
    """

    def __init__(self, folder: Path, program: Sequence[str] = PROGRAM) -> None:
        self._folder = folder
        self._program = tuple(program)

    def submit(self, job: str, argv: Sequence[str]) -> None:
        """Start a job; one of this id that is there already is left as it is."""
        place = self._folder / job
        try:
            place.mkdir(parents=True)
        except FileExistsError:
            return
        except OSError as error:
            raise JobsUnavailable(f"{place} cannot be made: {error.strerror}") from error
        try:
            self.start(place, argv)
        except JobsUnavailable:
            # Else it would count as a job that was killed.
            shutil.rmtree(place, ignore_errors=True)
            raise

    def start(self, place: Path, argv: Sequence[str]) -> None:
        """Start the process of a new job; raises JobsUnavailable."""
        command = f"{shlex.join([*self._program, *argv])} > {_LOG} 2>&1 < /dev/null"
        ending = f"{command}; echo $? > {_CODE}.new; mv {_CODE}.new {_CODE}"
        # Its starter ends at once: whatever ends this server's process and its children does not end the job.
        starter = f"setsid sh -c {shlex.quote(ending)} & echo $! > {_PID}.new; mv {_PID}.new {_PID}"
        try:
            subprocess.run(["sh", "-c", starter], cwd=place, env=_environment(), check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise JobsUnavailable(f"No process could be started: {error}") from error

    def status(self, job: str) -> JobState:
        """Return how a job is."""
        place = self._folder / job
        if not place.is_dir():
            return "unknown"
        if (place / _STOPPED).exists():
            return "stopped"
        if (place / _CODE).exists():
            code = int((place / _CODE).read_text())
            return "succeeded" if code == 0 else "lost" if code >= _SIGNALLED else "failed"
        if self.process(job) is not None:
            return "running"
        if (place / _PID).exists():
            # It may have ended between these questions.
            return self.status(job) if (place / _CODE).exists() else "lost"
        return "queued" if time.time() - place.stat().st_mtime < _STARTING_S else "lost"

    def process(self, job: str) -> psutil.Process | None:
        """Return the process group's leader of a job; None where it has ended or was not started."""
        place = self._folder / job
        try:
            process = psutil.Process(int((place / _PID).read_text()))
            # Another process may have got the number since: it would be younger than the file.
            is_own = process.create_time() < (place / _PID).stat().st_mtime + 1
            return process if is_own and process.status() != psutil.STATUS_ZOMBIE else None
        except (FileNotFoundError, psutil.NoSuchProcess):
            return None

    def stop(self, job: str) -> None:
        """End a job and what it started: asked first, killed a few seconds later."""
        process = self.process(job)
        if process is None:
            return
        (self._folder / job / _STOPPED).touch()
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            if _has_ended(process):
                return

    def log_tail(self, job: str) -> str:
        """Return the end of what a job printed."""
        try:
            with (self._folder / job / _LOG).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
                return log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""


def _has_ended(process: psutil.Process) -> bool:
    until = time.monotonic() + _ENDS_WITHIN_S
    while time.monotonic() < until:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
