"""The folder of one screen: what was asked, what was marked, where its command writes.

Its files are the only state. Whoever reads them, in whichever process, sees the same screen.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from pertcast.screens.files import MANIFEST
from pertcast.training.files import sync_file
from pydantic import BaseModel, ConfigDict

REQUEST: Final = "request.json"
_OUT: Final = "screen"
_CANCELLED: Final = "cancelled"
_FAILURE: Final = "failure.json"
_ATTEMPTS: Final = "attempts"


class ScreenRecord(BaseModel):
    """What was asked for, as it stands in request.json; it never changes.

    Attributes
    ----------
    id, title, kind
        Of the screen.
    model, bundle
        name@version, and the bundle's folder.
    caller_id, caller_name
        Who asked.
    submitted_at
        ISO 8601, UTC.
    request
        The body without its rows, which stand in library.parquet.
    request_hash
        SHA-256 of the whole body.
    argv
        Words of the `pertcast` command.
    words
        What messages of the command name by paths -> what the caller calls it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    title: str
    kind: str
    model: str
    bundle: str
    caller_id: str
    caller_name: str
    submitted_at: str
    request: dict[str, Any]
    request_hash: str
    argv: list[str]
    words: dict[str, str]


@dataclass(frozen=True)
class Attempt:
    """One job of a screen; another one follows only where it was killed.

    Attributes
    ----------
    number
        From 1.
    began
        Seconds since the epoch.
    n_done
        Profiles that were there before.
    """

    number: int
    began: float
    n_done: int


@dataclass(frozen=True)
class ScreenFolder:
    """The folder of one screen.

    Attributes
    ----------
    path
        Its place; its name is the screen's id.
    """

    path: Path

    @property
    def id(self) -> str:
        """The screen's id."""
        return self.path.name

    @property
    def out(self) -> Path:
        """What the command writes: the screen itself."""
        return self.path / _OUT

    @cached_property
    def record(self) -> ScreenRecord:
        """What was asked for."""
        return ScreenRecord.model_validate_json((self.path / REQUEST).read_bytes())

    @property
    def is_finished(self) -> bool:
        """Whether the screen is whole."""
        return (self.out / MANIFEST).is_file()

    @property
    def is_cancelled(self) -> bool:
        """Whether it was cancelled."""
        return (self.path / _CANCELLED).is_file()

    def mark_cancelled(self) -> None:
        """Note that it was cancelled: nobody submits it again."""
        (self.path / _CANCELLED).touch()

    def unmark_cancelled(self) -> None:
        """Take the note back: what computes it could not be reached."""
        (self.path / _CANCELLED).unlink(missing_ok=True)

    @property
    def failure(self) -> str | None:
        """Why it failed; None where it did not."""
        try:
            return str(json.loads((self.path / _FAILURE).read_bytes())["message"])
        except FileNotFoundError:
            return None

    def mark_failed(self, message: str) -> None:
        """Note why it failed; this outlives the log of its job."""
        write_whole(self.path / _FAILURE, json.dumps({"message": message}).encode())

    @property
    def attempts(self) -> list[Attempt]:
        """Its jobs so far, the first one first."""
        found = []
        for file in (self.path / _ATTEMPTS).glob("[0-9]*.json"):
            n_done = int(json.loads(file.read_bytes())["n_done"])
            found.append(Attempt(int(file.stem), file.stat().st_mtime, n_done))
        return sorted(found, key=lambda attempt: attempt.number)

    def begin_attempt(self, number: int, n_done: int) -> None:
        """Note a job before it is submitted, under an id that any process would give it."""
        folder = self.path / _ATTEMPTS
        folder.mkdir(exist_ok=True)
        write_whole(folder / f"{number}.json", json.dumps({"n_done": n_done}).encode())

    def job(self, attempt: int) -> str:
        """Return the id of a job of this screen."""
        return f"{self.id}-{attempt}"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, whichever processes and threads write it at once."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    temporary.write_bytes(content)
    sync_file(temporary)
    temporary.replace(path)
