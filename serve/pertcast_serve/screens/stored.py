"""What a finished screen holds: single profiles, and its files as they can be downloaded."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Final

import numpy as np
import polars as pl
from pertcast.screens.files import HITS, MANIFEST, SIG_INFO
from pertcast.screens.finished import RESPONSE, FinishedScreen
from pertcast.screens.intact import REMEDY, file_problem
from pertcast_data.errors import CorruptStore

from pertcast_serve.negotiation import CSV, JSON, PARQUET
from pertcast_serve.prediction.described import gene_space_id
from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.screens import Artifact, StoredResponse

_OPEN_SCREENS: Final = 16
_MEDIA_TYPES: Final = {
    ".json": JSON,
    ".html": "text/html; charset=utf-8",
    ".csv": CSV,
    ".parquet": PARQUET,
    ".gmt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a finished screen.

    Attributes
    ----------
    path
        Where it is.
    artifact
        What is known of it.
    """

    path: Path
    artifact: Artifact


class StoredScreens:
    """Finished screens, opened once."""

    def __init__(self) -> None:
        self._open: OrderedDict[Path, FinishedScreen] = OrderedDict()
        self._lock = Lock()

    def opened(self, out: Path) -> FinishedScreen:
        """Return a finished screen.

        Raises
        ------
        CorruptStore
            A file of it is missing or not as it was written.
        """
        with self._lock:
            if out in self._open:
                self._open.move_to_end(out)
                return self._open[out]
        screen = FinishedScreen.open(out)
        with self._lock:
            self._open[out] = screen
            while len(self._open) > _OPEN_SCREENS:
                self._open.popitem(last=False)
        return screen

    def hits(self, out: Path) -> Path:
        """Return the table of hits; it and sig_info are as they were written. Raises CorruptStore."""
        self.opened(out).require([HITS, SIG_INFO])
        return out / HITS

    def profile(self, identifier: str, out: Path, sig_id: str) -> StoredResponse | Problem:
        """Return one profile, or a 404; raises CorruptStore."""
        screen = self.opened(out)
        screen.require([SIG_INFO])
        scanned = pl.scan_parquet(out / SIG_INFO, row_index_name="row_in_file")
        found = scanned.filter(pl.col("sig_id") == sig_id).select("row_in_file").head(1).collect()
        if found.is_empty():
            detail = f"The screen has no profile {sig_id[:200]!r}. /v1/screens/{identifier}/hits lists all."
            return Problem(title="Unknown profile", status=404, detail=detail)
        row = found["row_in_file"].cast(pl.Int64).to_numpy().astype(np.int64)
        return StoredResponse(
            screen=identifier,
            sig_id=sig_id,
            gene_space=gene_space_id(screen.genes),
            genes=list(screen.genes),
            mean=screen.read(RESPONSE, row)[0].tolist(),
            sd=screen.read("sd", row)[0].tolist() if "sd" in screen.layers else None,
        )

    def artifacts(self, out: Path) -> list[Artifact]:
        """Return the files that the manifest records, and the manifest; by name. Raises CorruptStore."""
        files = self.opened(out).files
        found = [
            Artifact(
                name=name,
                bytes=int(record["bytes"]),
                sha256=str(record["sha256"]),
                media_type=_media_type(name),
            )
            for name, record in files.items()
        ]
        return sorted([*found, _manifest(out)], key=lambda artifact: artifact.name)

    def file(self, identifier: str, out: Path, name: str) -> StoredFile | Problem:
        """Return a file by its name in `artifacts`, or a 404; raises CorruptStore."""
        if name == MANIFEST:
            return StoredFile(out / MANIFEST, _manifest(out))
        record = self.opened(out).files.get(name)
        if record is None:
            detail = f"The screen has no file {name[:200]!r}. /v1/screens/{identifier}/artifacts lists all."
            return Problem(title="Unknown file", status=404, detail=detail)
        if (problem := file_problem(out / name, record, checksum=False)) is not None:
            raise CorruptStore(f"{name} {problem}. {REMEDY}")
        artifact = Artifact(
            name=name, bytes=record["bytes"], sha256=record["sha256"], media_type=_media_type(name)
        )
        return StoredFile(out / name, artifact)


def _manifest(out: Path) -> Artifact:
    content = (out / MANIFEST).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return Artifact(name=MANIFEST, bytes=len(content), sha256=digest, media_type=JSON)


def _media_type(name: str) -> str:
    return _MEDIA_TYPES.get(PurePosixPath(name).suffix, "application/octet-stream")
