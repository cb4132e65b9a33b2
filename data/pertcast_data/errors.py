"""Every error a user can meet, in one small hierarchy.

A message says what happened, where (file, row, column, value) and what to do about it.
Pure standard library: models and training import it on machines without Zarr or Polars.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any


def nearest_known(word: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Return up to `count` known words closest in spelling to `word`, best first (case-insensitive)."""
    by_folded = {item.casefold(): item for item in known}
    matches = difflib.get_close_matches(word.casefold(), list(by_folded), n=count, cutoff=0.6)
    return [by_folded[match] for match in matches]


def nearest_sentence(suggestions: Sequence[str]) -> str:
    """Return " Nearest known: A, B.", to stand behind what is unknown; "" where nothing is near."""
    return f" Nearest known: {', '.join(suggestions)}." if suggestions else ""


class PertcastError(Exception):
    """Base of all errors that Pertcast raises on purpose; the command line prints it and exits with 1."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes as it is, whatever its constructor takes."""
        return _as_it_was, (type(self), self.args, self.__dict__)


def _as_it_was(kind: type[PertcastError], args: tuple[Any, ...], attributes: dict[str, Any]) -> PertcastError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class Preempted(KeyboardInterrupt):
    """The machine is about to be taken away (SIGTERM): ends what a Ctrl-C ends, with 143 instead of 130."""


class ConfigError(PertcastError):
    """A configuration key, value or combination that cannot be used."""


class SchemaError(PertcastError):
    """A table lacks a column, or a column holds values outside the contract."""


class FormatError(PertcastError):
    """A file is not what a reader can read: unknown, truncated or broken."""


class CorruptStore(PertcastError):
    """A store's bytes, manifest or metadata do not agree; nothing in it can be trusted silently."""


class StorageError(PertcastError):
    """A place that cannot be read or written: a full disk, a bucket that is not there, no permission."""


class ObjectMissing(StorageError):
    """There is no object at a location of an object store."""


class CorruptBundle(PertcastError):
    """A bundle or checkpoint is incomplete or its hash does not match."""


class LeakageError(PertcastError):
    """Training rows and held-out rows share what they must not share."""


class ControlsMissing(PertcastError):
    """A treated profile has no matched control where one is needed."""


class UnitError(PertcastError):
    """A dose or time unit that is not known."""


class UnknownName(PertcastError):
    """A name outside the vocabulary; carries the nearest known ones.

    Parameters
    ----------
    name
        What was asked for.
    known
        Every name that would have been accepted.
    where
        Where the name was found (a file and row, a field).
    """

    kind = "name"

    def __init__(self, name: str, known: Iterable[str] = (), where: str = "", remedy: str = "") -> None:
        self.name = name
        self.suggestions = nearest_known(name, known)
        place = f" in {where}" if where else ""
        hint = nearest_sentence(self.suggestions)
        advice = f" {remedy}" if remedy else ""
        super().__init__(f"Unknown {self.kind} {name!r}{place}.{hint}{advice}")


class UnknownGene(UnknownName):
    """A gene that neither the gene space nor the gene features know."""

    kind = "gene"


class UnknownCompound(UnknownName):
    """A compound without a known identifier and without a structure to compute features from."""

    kind = "compound"


class UnknownContext(UnknownName):
    """A cell line (or other context) for which no basal profile is known."""

    kind = "cell line"
