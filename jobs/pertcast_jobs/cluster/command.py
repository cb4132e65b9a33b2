"""From the words after `pertcast job submit` to a whole command line, its shell line and its submission id.

The words are parsed by the real command line before anything is sent, so that a slip is told here.
"""

from __future__ import annotations

import hashlib
import io
import re
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import typer
from pertcast_data.errors import ConfigError
from typer.main import get_command

from pertcast_jobs.cli import COMMANDS
from pertcast_jobs.cli import app as command_line
from pertcast_jobs.run_config import RunConfig
from pertcast_jobs.run_config.load import load_config, load_sweep

_NO_JOBS: Final = {
    "job": "a job that submits jobs would wait for a place beside itself",
    "config": "it only prints: call it here",
    "serve": "a server is no job: deploy it as a RayService (docs/kubernetes.md)",
    "key": "it only writes a file of keys: call it here",
}
JOB_COMMANDS: Final = frozenset(COMMANDS) - frozenset(_NO_JOBS)
"""Commands that may run as a job; anything else after `job submit` is the CONFIG of a `train`."""

_LOADERS: Final[Mapping[str, Callable[..., RunConfig]]] = MappingProxyType(
    {"train": load_config, "tune": load_sweep}
)
RESUMABLE: Final = frozenset(_LOADERS)
"""Commands that go on only with --resume; the others do so by themselves where they can."""


@dataclass(frozen=True)
class Command:
    """A command as the real command line reads it.

    Attributes
    ----------
    words
        The whole command, without the program.
    values
        Its arguments and options; nothing where --help or its like was asked for.
    config
        The configuration of a training or sweep; None where it lies on the cluster.
    """

    words: tuple[str, ...]
    values: Mapping[str, Any]
    config: RunConfig | None = None


def job_command(words: Sequence[str]) -> list[str]:
    """Return the whole command: `train` is put before a CONFIG.

    Raises
    ------
    ConfigError
        No words, or a command that cannot be a job.
    """
    if not words:
        raise ConfigError("job submit: give a CONFIG to train, or a command such as `evaluate RUN`.")
    if words[0] in _NO_JOBS:
        raise ConfigError(f"`pertcast {words[0]}` does not run as a job: {_NO_JOBS[words[0]]}.")
    return list(words) if words[0] in JOB_COMMANDS else ["train", *words]


def parse_command(words: Sequence[str], *, configs_here: bool = True) -> Command:
    """Return a whole command as the real command line reads it.

    Parameters
    ----------
    words
        The whole command.
    configs_here
        Whether its CONFIG must lie here; else an absolute path that is no file here is one of the cluster's,
        which is not read.

    Raises
    ------
    ConfigError
        The CONFIG, an override or a ``@place`` does not exist or does not fit.
    typer's usage errors
        An option or argument is unknown, missing or not of its type; they exit with 2.
    """
    command: Any = get_command(command_line)
    try:
        with redirect_stdout(io.StringIO()):
            context = command.make_context("pertcast", list(words))
            while hasattr(command, "resolve_command"):
                left = [*context._protected_args, *context.args]
                name, command, rest = command.resolve_command(context, left)
                context = command.make_context(name, rest, parent=context)
    except typer.Exit:  # --help and its like are answered while they are parsed
        return Command(tuple(words), {})
    values = dict(context.params)
    named, config = values.get("config"), None
    # What the command itself would check first; of a replay even the first word says where data lie now.
    if words[0] in _LOADERS and named is not None and values.get("replay") is None:
        if configs_here or not Path(named).is_absolute() or Path(named).is_file():
            config = _LOADERS[words[0]](named, values.get("overrides") or [])
        if values.get("out") is None and not values.get("dry_run"):
            raise typer.BadParameter("name the folder of the results: --out DIR", param_hint="--out")
    return Command(tuple(words), values, config)


def entrypoint(words: Sequence[str], program: Sequence[str] = ("pertcast",)) -> str:
    """Return the shell line that runs a whole command by `program`."""
    return shlex.join([*program, *words])


def submission_id_of(words: Sequence[str], place: str = "") -> str:
    """Return the id that follows from a whole command, e.g. ``pertcast-train-1f0c9a2b3c``.

    Parameters
    ----------
    words
        The whole command; --resume makes it no other job.
    place
        What else decides what the command means: the folder of relative paths, the files that travel.
    """
    asked = [word for word in words if word != "--resume"]
    digest = hashlib.sha256("\0".join([place, *asked]).encode()).hexdigest()[:10]
    return f"pertcast-{words[0]}-{digest}"


def next_id(submission_id: str, taken: Collection[str]) -> str:
    """Return the id, or the id with the first free number (``-2``, ``-3``...)."""
    if submission_id not in taken:
        return submission_id
    number = 2
    while f"{submission_id}-{number}" in taken:
        number += 1
    return f"{submission_id}-{number}"


def is_run_of(submission_id: str, found: str) -> bool:
    """Return whether `found` is `submission_id` or one of its repetitions."""
    return re.fullmatch(rf"{re.escape(submission_id)}(-\d+)?", found) is not None


def require_lasting_out(asked: Command) -> None:
    """Refuse a relative --out for a cluster, where a job's folder goes with the job.

    Raises
    ------
    ConfigError
        The results would be lost.
    """
    out = asked.values.get("out")
    if out is not None and not str(out).startswith("/") and ":/" not in str(out):
        raise ConfigError(
            f"--out {out} is relative: on the cluster it would lie in a folder that is removed with the job. "
            "Give an absolute path on storage that the cluster keeps, or an address such as s3://bucket/run."
        )


def resumed(words: Sequence[str]) -> list[str]:
    """Return a whole command such that it goes on where an earlier one stopped."""
    if words[0] in RESUMABLE and "--resume" not in words:
        return [*words, "--resume"]
    return list(words)
