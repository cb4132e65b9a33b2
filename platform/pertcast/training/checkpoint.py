"""What a checkpoint is: a folder that counts once it is whole, and is verified before use.

Where checkpoints live is a `CheckpointStore`; `checkpoint_keeper` writes and finds them on all ranks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from pertcast_data.errors import CorruptBundle

from pertcast.training.distributed import rank, world_size
from pertcast.training.early_stopping import EarlyStopping
from pertcast.training.files import sha256_of, write_json
from pertcast.training.reports import Position, StageResult, stage_to_json

FORMAT_VERSION: Final = 2
STATE_FILE: Final = "state.json"
MODEL_FILE: Final = "model.safetensors"
BEST_FILE: Final = "best.safetensors"
_NAME = re.compile(r"stage-\d{2}-step-\d{9}")

WriteShare = Callable[[Path], None]
"""Writes this rank's files into an empty folder. Ranks do it alone: it holds no collective operation."""


class CheckpointStore(Protocol):
    """A place for checkpoints, as single acts of single ranks; `CheckpointKeeper` puts them in order.

    Each raises a storage fault (OSError, StorageError) where the place cannot be used just now. A checkpoint
    that was begun and not committed is never listed, and is cleaned away when the next one is begun.

    Attributes
    ----------
    place
        Folder or address, for messages.
    """

    place: str

    def begin(self, name: str) -> None:
        """On rank 0, before all shares: make room for a checkpoint; one of this name counts until then."""
        ...

    def write_share(self, name: str, write: WriteShare) -> None:
        """On every rank: call `write` with an empty folder and keep what it holds. Names never clash."""
        ...

    def commit(self, name: str) -> None:
        """On rank 0, after all shares: make the checkpoint count, then drop the oldest."""
        ...

    def discard(self, name: str) -> None:
        """On rank 0: remove what was written of a checkpoint that could not be committed."""
        ...

    def names(self) -> list[str]:
        """On rank 0: return the committed checkpoints, oldest first."""
        ...

    def fetch(self, name: str) -> Path:
        """On every rank: return a local folder that holds all ranks' files of a checkpoint, not verified."""
        ...


def checkpoint_name(position: Position) -> str:
    """Return the name of the checkpoint at a position; names sort as positions do."""
    return f"stage-{position.stage:02d}-step-{position.global_step:09d}"


def is_checkpoint_name(name: str) -> bool:
    """Whether a folder of this name is a committed checkpoint."""
    return _NAME.fullmatch(name) is not None


def too_old(names: list[str], newest: str, keep: int) -> list[str]:
    """Return what may be dropped once `newest` is committed.

    Later ones (damaged, or of an attempt that was not resumed from) neither count as kept nor are touched.
    """
    return sorted(name for name in names if name <= newest)[:-keep]


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
    ranks
        Number of ranks that trained when it was written.
    """

    position: Position
    fingerprint: Mapping[str, Any]
    results: tuple[StageResult, ...] = ()
    stopping: EarlyStopping = field(default_factory=EarlyStopping)
    seconds: float = 0.0
    ranks: int = 1

    def save(self, folder: Path) -> None:
        """Write `state.json`."""
        content = {
            "format_version": FORMAT_VERSION,
            "position": asdict(self.position),
            "fingerprint": dict(self.fingerprint),
            "results": [stage_to_json(result) for result in self.results],
            "stopping": self.stopping.to_json(),
            "seconds": self.seconds,
            "ranks": self.ranks,
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
            ranks=content["ranks"],
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
