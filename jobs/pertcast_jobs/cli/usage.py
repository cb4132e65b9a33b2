"""Usage errors: what is wrong with the options themselves, said before any file is read; exit code 2."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import typer
from pertcast_data.errors import ConfigError, nearest_known


def one_of(known: Iterable[str]) -> Callable[[str | None], str | None]:
    """Return the callback of an option that takes one of the words `known`."""
    words = tuple(known)

    def checked(value: str | None) -> str | None:
        if value is None or value in words:
            return value
        near = nearest_known(value, words)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"There are {', '.join(words)}."
        raise typer.BadParameter(f"{value!r} is not known. {hint}")

    return checked


@contextmanager
def usage_errors() -> Iterator[None]:
    """Make usage errors of what is raised while options are checked."""
    try:
        yield
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error
