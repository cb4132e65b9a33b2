"""Checkpoints: folders that appear whole, are verified before use, and of which the newest good one counts.

Where they live is a `CheckpointStore`: a local folder here; a launcher may bring its own.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from pertcast_data.errors import CorruptBundle

from pertcast.training.distributed import barrier, rank, world_size
from pertcast.training.early_stopping import EarlyStopping
from pertcast.training.files import replace_folder, sha256_of, write_json
from pertcast.training.reports import Position, StageResult, stage_to_json

log = logging.getLogger(__name__)

FORMAT_VERSION: Final = 1
STATE_FILE: Final = "state.json"
MODEL_FILE: Final = "model.pt"
BEST_FILE: Final = "best.pt"
_NAME = re.compile(r"stage-\d{2}-step-\d{9}")

WriteShare = Callable[[Path], None]
"""Writes this rank's files into an empty folder."""


class CheckpointStore(Protocol):
    """Keeps checkpoints. `save` is called on every rank at the same positions, `latest` once at the start.

    An implementation gives each rank an empty folder, calls `write` with it, and brings all ranks' files
    together in one folder: their names never clash. What `latest` returns must hold that union; `fit`
    verifies it and raises CorruptBundle if it is damaged.
    """

    def save(self, position: Position, metrics: Mapping[str, float], write: WriteShare) -> None:
        """Keep a checkpoint; `metrics` are the newest losses ("validation_..." for held-out ones)."""
        ...

    def latest(self) -> Path | None:
        """Return the folder of the newest good checkpoint, the same on every rank, or None."""
        ...


class NoCheckpoints:
    """Keeps nothing: for models that train in seconds."""

    def save(self, position: Position, metrics: Mapping[str, float], write: WriteShare) -> None:
        """Keep nothing."""

    def latest(self) -> Path | None:
        """Return None."""
        return None


@dataclass(frozen=True)
class TrainingState:
    """What a checkpoint says beside its tensors.

    Attributes
    ----------
    position
        What to do next.
    fingerprint
        What must be the same for a resume to continue the same training.
    results
        Stages that are done.
    stopping
        Early stopping of the running stage.
    seconds
        Wall time so far.
    """

    position: Position
    fingerprint: Mapping[str, Any]
    results: tuple[StageResult, ...] = ()
    stopping: EarlyStopping = field(default_factory=EarlyStopping)
    seconds: float = 0.0

    def save(self, folder: Path) -> None:
        """Write `state.json`."""
        content = {
            "format_version": FORMAT_VERSION,
            "position": asdict(self.position),
            "fingerprint": dict(self.fingerprint),
            "results": [stage_to_json(result) for result in self.results],
            "stopping": self.stopping.to_json(),
            "seconds": self.seconds,
        }
        write_json(folder / STATE_FILE, content)

    @classmethod
    def load(cls, folder: Path) -> TrainingState:
        """Read `state.json` of a verified checkpoint."""
        content = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        if content["format_version"] != FORMAT_VERSION:
            raise CorruptBundle(
                f"{folder} has checkpoint version {content['format_version']}, this Pertcast reads "
                f"{FORMAT_VERSION}; finish the run with the Pertcast that began it."
            )
        return cls(
            position=Position(**content["position"]),
            fingerprint=content["fingerprint"],
            results=tuple(StageResult(**result) for result in content["results"]),
            stopping=EarlyStopping.from_json(content["stopping"]),
            seconds=content["seconds"],
        )


def seal_share(folder: Path) -> None:
    """Record size and SHA-256 of every file this rank wrote, as the last thing it writes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    records = {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in files
    }
    write_json(folder / _manifest(rank()), {"world_size": world_size(), "files": records})


def _manifest(of_rank: int) -> str:
    return f"manifest-{of_rank:05d}.json"


def verify_checkpoint(folder: Path) -> None:
    """Check that every rank's share is there and unchanged.

    Raises
    ------
    CorruptBundle
        Naming the first file that is missing, truncated or altered.
    """
    ranks, index = 1, 0
    while index < ranks:
        manifest = folder / _manifest(index)
        try:
            content = json.loads(manifest.read_text(encoding="utf-8"))
            ranks, records = int(content["world_size"]), content["files"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorruptBundle(f"{manifest} is missing or damaged: {error}") from error
        for name, record in records.items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != record["bytes"]:
                raise CorruptBundle(f"{path} is missing or truncated.")
            if sha256_of(path) != record["sha256"]:
                raise CorruptBundle(f"{path} is damaged: its SHA-256 is not the recorded one.")
        index += 1


def _name(position: Position) -> str:
    return f"stage-{position.stage:02d}-step-{position.global_step:09d}"


class LocalCheckpointStore:
    """Checkpoints as folders below one folder that all ranks see.

    Parameters
    ----------
    folder
        Where they are kept, one folder a checkpoint; made when needed.
    keep
        How many of the newest are kept.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep

    def save(self, position: Position, metrics: Mapping[str, float], write: WriteShare) -> None:
        """Write every rank's share to a temporary sibling, join them, rename, drop the oldest."""
        target = self.folder / _name(position)
        partial = self.folder / f".{target.name}.partial"
        if rank() == 0:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        barrier()
        share = partial / f"share-{rank():05d}"
        share.mkdir()
        write(share)
        barrier()
        if rank() == 0:
            _join_shares(partial)
            replace_folder(partial, target)
            self._drop_oldest()

    def latest(self) -> Path | None:
        """Return the newest checkpoint that verifies; damaged ones are named in the log and skipped."""
        for path in reversed(self._all()):
            try:
                verify_checkpoint(path)
            except CorruptBundle as error:
                log.warning("skipping checkpoint %s: %s", path.name, error)
            else:
                return path
        return None

    def _all(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if _NAME.fullmatch(path.name))

    def _drop_oldest(self) -> None:
        for path in self._all()[: -self.keep]:
            shutil.rmtree(path, ignore_errors=True)


def _join_shares(folder: Path) -> None:
    for share in sorted(folder.glob("share-*")):
        for path in sorted(share.rglob("*")):
            if path.is_file():
                target = folder / path.relative_to(share)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
        shutil.rmtree(share)
