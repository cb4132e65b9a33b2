"""The simple commands of a shell line: what runs, without what joins it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from pertcast_data.errors import ConfigError

_TOKEN: Final = re.compile(
    r"""
    (?P<blank> [ \t\r]+ | \\\n | \#[^\n]* )
    | (?P<redirection> \d?(?: <<<|<<-|<<|<&|<>|<|>>|>&|>\||> | &>>|&> ) )
    | (?P<operator> \|\||\|&|\||&&|&|;;|;|\(|\)|\n )
    | (?P<word> (?: [^\s'"\\<>|&;()] | \\. | '[^']*' | "(?:\\.|[^"\\])*" )+ )
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass
class SimpleCommand:
    """Words up to an operator (``&&``, ``;``, ``|``...), and the file that its output goes to."""

    words: list[str] = field(default_factory=list)
    output: str | None = None


def _tokens(line: str) -> Iterator[tuple[str, str]]:
    """Yield (sort, text) of a line's tokens."""
    place = 0
    while place < len(line):
        found = _TOKEN.match(line, place)
        if found is None:
            raise ConfigError(
                f"{line[:80]!r} is no shell line: the quote in {line[place : place + 20]!r} is not closed."
            )
        place = found.end()
        yield str(found.lastgroup), found[0]


def simple_commands(line: str) -> list[SimpleCommand]:
    """Return the simple commands of a shell line in their order, without variables being filled in.

    Raises
    ------
    ConfigError
        A quote is open.
    """
    commands = [SimpleCommand()]
    redirection = ""
    for sort, text in _tokens(line):
        if sort == "operator":
            commands.append(SimpleCommand())
        elif sort == "redirection":
            redirection = text
        elif sort == "word":
            word = "".join(shlex.split(text))
            if redirection in (">", "1>", ">|", ">>"):
                commands[-1].output = word
            elif not redirection:
                commands[-1].words.append(word)
            redirection = ""
    return [command for command in commands if command.words]
