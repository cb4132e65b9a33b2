"""What it means to submit a command, on every cluster: run it once, and again only where it has ended."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from pertcast_data.errors import ConfigError

from pertcast_jobs.cluster.code_archive import named_files
from pertcast_jobs.cluster.command import Command, is_run_of, next_id, resumed, submission_id_of
from pertcast_jobs.cluster.job_client import ENDED, AlreadyThere, JobRow, NoSuchJob
from pertcast_jobs.cluster.retry import Unreachable


@dataclass(frozen=True)
class Asked:
    """A command that shall run as a job.

    Attributes
    ----------
    words
        The whole command, as it runs on the cluster.
    files
        What travels with it: name in the job's folder -> path here.
    command_id
        The id that follows from the words and from what decides their meaning.
    """

    words: tuple[str, ...]
    files: Mapping[str, Path]
    command_id: str

    @classmethod
    def sent(cls, words: Sequence[str], files: Mapping[str, Path]) -> Asked:
        """Return a command whose files travel with it, and decide its id by what they say."""
        contents = [name + _digest(path) for name, path in sorted(files.items())]
        return cls(tuple(words), files, submission_id_of(words, "".join(contents)))

    @classmethod
    def here(cls, command: Command) -> Asked:
        """Return a command that runs on this machine, in this folder, on the files that are here."""
        read = sorted(path for path in named_files(command) if path.is_file())
        place = os.getcwd() + "".join(map(_digest, read))
        return cls(command.words, {}, submission_id_of(command.words, place))


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


class Backend(Protocol):
    """What a cluster must be able to do for `submit`."""

    def list(self) -> list[JobRow]:
        """Return the jobs, newest first."""
        ...

    def describe(self, submission_id: str) -> JobRow:
        """Return one job; raises NoSuchJob."""
        ...

    def create(self, submission_id: str, asked: Asked) -> None:
        """Start a job; raises AlreadyThere where the id is taken, Unreachable where it is not known."""
        ...


def submit(backend: Backend, asked: Asked, submission_id: str | None = None) -> str:
    """Run a command as a job and return its id; see `ClusterJobs.submit`."""
    base = submission_id or asked.command_id
    earlier = [row for row in backend.list() if is_run_of(base, row.submission_id)]
    for row in earlier:
        if row.status not in ENDED:
            return _id_of_same(row, asked, base)
    if any(_is_same(row, asked, base) for row in earlier):
        asked = replace(asked, words=tuple(resumed(asked.words)))
    name = next_id(base, [row.submission_id for row in earlier])
    try:
        backend.create(name, asked)
    except AlreadyThere:  # somebody else's, a moment ago
        return _id_of_same(backend.describe(name), asked, base)
    except Unreachable as error:  # it may have been taken, and only the answer was lost
        try:
            return _id_of_same(backend.describe(name), asked, base)
        except (NoSuchJob, Unreachable):
            raise error from None
    return name


def _is_same(row: JobRow, asked: Asked, base: str) -> bool:
    return asked.command_id in (row.command_id, base)


def _id_of_same(row: JobRow, asked: Asked, base: str) -> str:
    """Return the id of a job; raises ConfigError where it is another command's."""
    if _is_same(row, asked, base):
        return row.submission_id
    raise ConfigError(
        f"{row.submission_id} is taken by another command ({row.status}: {row.command_line[:200]}). Give "
        "another --submission-id, or none: it then follows from the command."
    )
