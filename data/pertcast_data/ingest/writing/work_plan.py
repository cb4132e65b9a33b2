"""What the workers of an ingest are told, and the fingerprint of all that decides the bytes they write."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from pertcast_data.store.info import Layout
from pertcast_data.vocabulary import Normalisation

FORMAT: Final = 1
"""Of the folder of an ingest; a folder of another format is begun anew."""


class DealTask(BaseModel):
    """Rows start..stop-1 of a file, which one worker sorts."""

    model_config = ConfigDict(frozen=True)

    part: int
    start: int
    stop: int

    @property
    def n_rows(self) -> int:
        """Rows of the file."""
        return self.stop - self.start


class Part(BaseModel):
    """One file and how it is opened."""

    model_config = ConfigDict(frozen=True)

    path: Path
    options: dict[str, Any] = {}
    identity: str


class WorkPlan(BaseModel):
    """Everything a worker must know that is not an array.

    Attributes
    ----------
    parts
        The files.
    layout, normalisation, n_genes
        Of the store.
    tasks
        Ranges of rows, in source order.
    run_bytes
        Bytes of narrow rows in a sorted run.
    base
        The store that grows, if one does.
    location
        Where complete shards are published, if they are.
    request
        Fingerprint of what was asked for, whatever the state of a store that grows.
    fingerprint
        Of everything that decides the bytes of X.
    """

    model_config = ConfigDict(frozen=True)

    parts: tuple[Part, ...]
    layout: Layout
    normalisation: Normalisation
    n_genes: int
    tasks: tuple[DealTask, ...]
    run_bytes: int
    base: Path | None = None
    location: str | None = None
    request: str
    fingerprint: str


def fingerprint(facts: Any, arrays: Sequence[npt.NDArray[np.int64] | None]) -> str:
    """Return 32 hexadecimal digits over JSON-able facts and arrays."""
    digest = hashlib.blake2b(json.dumps([FORMAT, facts], sort_keys=True).encode(), digest_size=16)
    for array in arrays:
        digest.update(b"-" if array is None else np.ascontiguousarray(array).data)
    return digest.hexdigest()


def file_identity(path: Path) -> str:
    """Return what tells one state of a file (or of a folder of files) from another, without reading it."""
    if not path.is_dir():
        return _file_state(path)
    states = [
        f"{file.relative_to(path)} {_file_state(file)}" for file in sorted(path.rglob("*")) if file.is_file()
    ]
    return hashlib.blake2b("\n".join(states).encode(), digest_size=16).hexdigest()


def _file_state(path: Path) -> str:
    status = os.stat(path)
    return f"{status.st_size} {status.st_mtime_ns}"
