"""The folder beside a store to be, in which an ingest is done piece by piece and from which it goes on.

Every piece appears whole, once it is safely on disk; what decides the bytes of a piece stands in a
fingerprint, so that pieces of another ingest are never taken for this one's.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pertcast_data.errors import ConfigError
from pertcast_data.ingest.writing.work_plan import WorkPlan
from pertcast_data.store.building.matrix import MatrixPlan
from pertcast_data.store.building.runs import FileRun, read_run
from pertcast_data.store.manifest import ShardRecord, write_atomically

_LOCK: Final = "lock"


@dataclass(frozen=True)
class Workspace:
    """The folder of one ingest.

    Attributes
    ----------
    folder
        Beside the store.
    """

    folder: Path

    @classmethod
    def of(cls, target: Path) -> Workspace:
        """Return the workspace that belongs to a store, whether it is there or not."""
        return cls(target.parent / f".{target.name}.ingest")

    @property
    def store(self) -> Path:
        """The store that is being made."""
        return self.folder / "store"

    @property
    def runs(self) -> Path:
        """Sorted runs."""
        return self.folder / "runs"

    @cached_property
    def plan(self) -> WorkPlan:
        """What the workers do."""
        return WorkPlan.model_validate_json((self.folder / "plan.json").read_bytes())

    def destinations(self, part: int) -> npt.NDArray[np.int64]:
        """Return the final place of each row of a file, -1 where it is left out (a memory map)."""
        return np.load(self.folder / f"destinations-{part}.npy", mmap_mode="r")  # type: ignore[no-any-return]

    def columns(self, part: int) -> npt.NDArray[np.int64] | None:
        """Return which genes of a file are kept, in the store's order; None for all."""
        path = self.folder / f"columns-{part}.npy"
        return np.load(path) if path.exists() else None

    def begin(
        self,
        plan: WorkPlan,
        destinations: Sequence[npt.NDArray[np.int64]],
        columns: Sequence[npt.NDArray[np.int64] | None],
    ) -> bool:
        """Make the folder, or go on with the one that is there; return whether there was one to go on with.

        A folder with another fingerprint is begun anew.
        """
        self._stopped.unlink(missing_ok=True)
        if self._fingerprint() == plan.fingerprint:
            return True
        self.clear()
        self.runs.mkdir(parents=True, exist_ok=True)
        for number, (places, chosen) in enumerate(zip(destinations, columns, strict=True)):
            np.save(self.folder / f"destinations-{number}.npy", places)
            if chosen is not None:
                np.save(self.folder / f"columns-{number}.npy", chosen)
        write_atomically(self.folder / "plan.json", plan.model_dump_json(indent=1).encode())
        return False

    def mark_result(self, data_hash: str) -> None:
        """Say which content the store will have in the moment in which it is moved into place."""
        write_atomically(self.folder / "result.json", json.dumps([self.plan.request, data_hash]).encode())

    def has_ended_in(self, request: str, data_hash: str) -> bool:
        """Return whether this request was brought to its end, and only the folder was not removed."""
        path = self.folder / "result.json"
        return path.exists() and json.loads(path.read_bytes()) == [request, data_hash]

    @property
    def _stopped(self) -> Path:
        return self.folder / "stopped"

    def stop(self) -> None:
        """Tell workers to begin no further piece: one has failed, and what is here may be removed."""
        self._stopped.touch()

    @property
    def is_stopped(self) -> bool:
        """Whether no further piece is to be begun."""
        return self._stopped.exists()

    def clear(self) -> None:
        """Remove everything but the lock."""
        if self.folder.exists():
            # The plan first: without it, what is left counts for nothing.
            (self.folder / "plan.json").unlink(missing_ok=True)
            for child in self.folder.iterdir():
                if child.is_dir():
                    shutil.rmtree(child)
                elif child.name != _LOCK:
                    child.unlink()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; it is removed with the block if nothing is left in it.

        Raises
        ------
        ConfigError
            Another process is at work on the same store.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / _LOCK).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ConfigError(
                    f"{self.folder}: another ingest is writing this store. Wait for it, or choose another "
                    "--out."
                ) from None
            try:
                yield
            finally:
                if [child.name for child in self.folder.iterdir()] == [_LOCK]:
                    shutil.rmtree(self.folder)

    # -- the first stage: sorted runs

    def is_dealt(self, task: int) -> bool:
        """Return whether the runs of a task are complete."""
        return self._dealt(task).exists()

    def mark_dealt(self, task: int, facts: dict[str, int]) -> None:
        """Say that the runs of a task are complete, and what was seen on the way."""
        write_atomically(self._dealt(task), json.dumps(facts).encode())

    def dealt(self, task: int) -> dict[str, int]:
        """Return what `mark_dealt` was told."""
        found: dict[str, int] = json.loads(self._dealt(task).read_bytes())
        return found

    def _dealt(self, task: int) -> Path:
        return self.runs / f"{task}.done"

    @cached_property
    def all_runs(self) -> tuple[FileRun, ...]:
        """Every run of every task; asked for once all are dealt."""
        return tuple(
            read_run(self.runs / f"{task}-{number}")
            for task in range(len(self.plan.tasks))
            for number in range(self.dealt(task)["runs"])
        )

    # -- the second stage: shards

    def begin_matrix(self, plan: MatrixPlan, pointers: npt.NDArray[np.int64], first_shard: int) -> None:
        """Write down the matrix to be written; its arrays and shards before `first_shard` are there."""
        (self.folder / "shards").mkdir(exist_ok=True)
        np.save(self.folder / "pointers.npy", pointers)
        content = {**vars(plan), "value_type": plan.value_type.str, "first_shard": first_shard}
        write_atomically(self.folder / "matrix.json", json.dumps(content).encode())

    @property
    def has_matrix(self) -> bool:
        """Whether the matrix is planned and its arrays are there."""
        return (self.folder / "matrix.json").exists()

    @cached_property
    def matrix(self) -> MatrixPlan:
        """The matrix that is written."""
        content = {name: value for name, value in self._matrix_facts.items() if name != "first_shard"}
        return MatrixPlan(**{**content, "value_type": np.dtype(content["value_type"])})

    @property
    def first_shard(self) -> int:
        """The first shard to write: those before it are taken over from the store that grows."""
        return int(self._matrix_facts["first_shard"])

    @cached_property
    def _matrix_facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.folder / "matrix.json").read_bytes())
        return facts

    @cached_property
    def pointers(self) -> npt.NDArray[np.int64]:
        """Row pointers of a sparse matrix (a memory map)."""
        path = self.folder / "pointers.npy"
        return np.load(path, mmap_mode="r" if self.matrix.layout == "csr" else None)  # type: ignore[no-any-return]

    def is_written(self, shard: int) -> bool:
        """Return whether a shard is complete and still as it was written."""
        path = self._written(shard)
        return path.exists() and all(_is_there(self.store, record) for record in self.written(shard))

    def mark_written(self, shard: int, records: Sequence[ShardRecord]) -> None:
        """Say that a shard is complete."""
        content = [[each.path, each.rows, each.bytes, each.crc32] for each in records]
        write_atomically(self._written(shard), json.dumps(content).encode())

    def written(self, shard: int) -> list[ShardRecord]:
        """Return the records of a complete shard."""
        return [ShardRecord(*row) for row in json.loads(self._written(shard).read_bytes())]

    def _written(self, shard: int) -> Path:
        return self.folder / "shards" / f"{shard}.json"

    def _fingerprint(self) -> str | None:
        try:
            found: str = json.loads((self.folder / "plan.json").read_bytes())["fingerprint"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found


def _is_there(root: Path, record: ShardRecord) -> bool:
    if not record.bytes:
        return True
    try:
        return (root / record.path).stat().st_size == record.bytes
    except FileNotFoundError:
        return False
