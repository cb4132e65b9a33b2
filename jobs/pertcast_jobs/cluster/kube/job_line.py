"""The pertcast commands in the shell line of a RayJob, read by the real command line."""

from __future__ import annotations

import base64
import difflib
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Final

from pertcast_data.errors import ConfigError
from typer.exceptions import TyperException

from pertcast_jobs.cluster.command import Command, parse_command
from pertcast_jobs.cluster.kube.shell import simple_commands

_PROGRAM: Final = "pertcast"
_MODULE: Final = ("-m", "pertcast_jobs")
_SHELLS: Final = ("sh", "bash")
_IN_FRONT: Final = frozenset(
    {"!", "{", "if", "then", "else", "do", "while", "until"}
    | {"exec", "command", "env", "nice", "nohup", "time", "timeout"}
)
"""Words that a program may stand behind, those that take options among them."""

_OPTION: Final = re.compile(r"-.*|[\d.]+[smhd]?|[A-Za-z_]\w*=.*", re.DOTALL)
_NEARLY: Final = 0.8  # pertcats, pertcas, prtcast; not forecast


def _after_program(words: Sequence[str]) -> tuple[str, list[str]]:
    """Return the program of a simple command by its name, and the words after it."""
    left = list(words)
    while left and (left[0] in _IN_FRONT or _OPTION.fullmatch(left[0])):
        left.pop(0)
    return (PurePosixPath(left[0]).name, left[1:]) if left else ("", [])


def pertcast_commands(line: str) -> list[list[str]]:
    """Return the pertcast commands of a shell line, each as its words without the program.

    A line of other programs alone has none.

    Raises
    ------
    ConfigError
        No shell line, or a program that is nearly called pertcast.
    """
    return list(_pertcast_commands(line))


def _pertcast_commands(line: str) -> Iterator[list[str]]:
    for command in simple_commands(line):
        program, words = _after_program(command.words)
        if program == _PROGRAM:
            yield words
        elif program.startswith("python") and _MODULE in pairwise(words):
            yield words[words.index(_MODULE[1]) + 1 :]
        elif program in _SHELLS:
            inner = [line for option, line in pairwise(words) if re.fullmatch(r"-\w*c", option)]
            yield from (words for line in inner[:1] for words in _pertcast_commands(line))
        elif difflib.SequenceMatcher(None, program, _PROGRAM).ratio() >= _NEARLY:
            raise ConfigError(f"there is no program {program!r}; write `pertcast` and a command.")


def _write_sent_files(line: str, folder: Path) -> dict[str, str]:
    """Write the files that a line writes (``echo BASE64 | base64 -d > NAME``); return NAME -> path here."""
    paths: dict[str, str] = {}
    for said, decoding in pairwise(simple_commands(line)):
        name = decoding.output
        if said.words[0] != "echo" or decoding.words[0] != "base64" or name is None:
            continue
        try:
            content = base64.b64decode("".join(said.words[1:]), validate=True)
        except ValueError as error:
            raise ConfigError(
                f"what is written to {name} is no base64 ({error}): {' '.join(said.words[1:])[:40]!r}. "
                "Take it from `base64 -w0 FILE`."
            ) from error
        path = folder / f"{len(paths)}-{PurePosixPath(name).name}"
        path.write_bytes(content)
        paths[name] = str(path)
    return paths


def _parsed(words: Sequence[str], paths: dict[str, str]) -> Command:
    """Return a command as it will be read where the files of `paths` are."""
    if not words:
        raise ConfigError("`pertcast` without a command.")
    here = list(words)
    for name, path in paths.items():
        here = [word.replace(name, path) for word in here]
    try:
        return replace(parse_command(here, configs_here=False), words=tuple(words))
    except TyperException as error:
        told = getattr(error, "format_message", None)
        raise ConfigError(told() if told else str(error)) from error


@lru_cache(maxsize=64)
def read_line(line: str) -> tuple[Command, ...]:
    """Return the pertcast commands in a shell line; files that it writes are there while it is read.

    Raises
    ------
    ConfigError
        No shell line, or a command that would be refused on the cluster.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = _write_sent_files(line, Path(folder))
        return tuple(_parsed(words, paths) for words in pertcast_commands(line))
