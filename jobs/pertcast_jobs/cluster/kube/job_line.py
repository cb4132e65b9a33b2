"""The pertcast command in the shell line of a RayJob, read by the real command line."""

from __future__ import annotations

import base64
import re
import shlex
import tempfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Final

from pertcast_data.errors import ConfigError
from typer.exceptions import TyperException

from pertcast_jobs.cluster.command import Command, parse_command

_PROGRAMS: Final = (("pertcast",), ("python", "-m", "pertcast_jobs"))
_SENT_FILE: Final = re.compile(r"echo (\S+) \| base64 -d > (\S+)")


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


@lru_cache(maxsize=64)
def read_line(line: str) -> Command:
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
            return replace(parse_command(here, configs_here=False), words=tuple(words))
        except TyperException as error:
            told = getattr(error, "format_message", None)
            raise ConfigError(told() if told else str(error)) from error
