"""The pertcast command in the shell line of a RayJob, read by the real command line."""

from __future__ import annotations

import base64
import re
import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from pertcast_data.errors import ConfigError
from typer.exceptions import TyperException

from pertcast_jobs.cluster.command import parse_command
from pertcast_jobs.run_config import RunConfig
from pertcast_jobs.run_config.load import load_config, load_sweep

_PROGRAMS: Final = (("pertcast",), ("python", "-m", "pertcast_jobs"))
_SENT_FILE: Final = re.compile(r"echo (\S+) \| base64 -d > (\S+)")
_LOADERS: Final[Mapping[str, Callable[..., RunConfig]]] = MappingProxyType(
    {"train": load_config, "tune": load_sweep}
)


@dataclass(frozen=True)
class JobLine:
    """A command as a cluster will run it.

    Attributes
    ----------
    words
        The whole command, without the program.
    values
        What the command line reads from it.
    config
        The configuration of a training or sweep; None where it lies on the cluster.
    """

    words: tuple[str, ...]
    values: Mapping[str, Any]
    config: RunConfig | None = None


def _command(line: str) -> list[str]:
    """Return the words after the program; raises ConfigError where there is no such program."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise ConfigError(f"{line[:80]!r} is no shell line: {error}.") from error
    for program in _PROGRAMS:
        for start in range(len(words) - len(program) + 1):
            if tuple(words[start : start + len(program)]) == program:
                return words[start + len(program) :]
    raise ConfigError(f"{line[:80]!r} runs no pertcast; begin with `pertcast` and a command.")


def _config(words: Sequence[str], values: Mapping[str, Any]) -> RunConfig | None:
    named = values.get("config")
    if words[0] not in _LOADERS or named is None or (Path(named).is_absolute() and not Path(named).exists()):
        return None
    return _LOADERS[words[0]](named, values.get("overrides") or [])


@lru_cache(maxsize=64)
def read_line(line: str) -> JobLine:
    """Return the command in a shell line; files that the line writes are there while it is read.

    Raises
    ------
    ConfigError
        No pertcast command, or one that would be refused on the cluster.
    """
    words = _command(line)
    if not words:
        raise ConfigError("`pertcast` without a command.")
    with tempfile.TemporaryDirectory() as folder:
        here = list(words)
        for number, (content, name) in enumerate(_SENT_FILE.findall(line)):
            path = Path(folder) / f"{number}-{Path(name).name}"
            path.write_bytes(base64.b64decode(content))
            here = [word.replace(name, str(path)) for word in here]
        try:
            values = parse_command(here, configs_here=False)
            return JobLine(tuple(words), values, _config(here, values))
        except TyperException as error:
            told = getattr(error, "format_message", None)
            raise ConfigError(told() if told else str(error)) from error
