"""The folder of a screen while it is computed: its plan, and a verified record for every finished shard.

A shard counts as done when its record stands and every file that the record lists has the recorded
checksum; whatever else a killed process left behind is computed again and overwritten.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
from pertcast.training.files import sync_file, write_json
from pertcast_data.errors import ConfigError, CorruptStore
from pertcast_data.store.manifest import ShardRecord, file_record, record_problem, sync_directory

from pertcast_jobs.screen.conditions import IDENTITY_SCHEMA, rebatched
from pertcast_jobs.screen.plan import ScreenPlan

MANIFEST = "manifest.json"
PROFILES = "profiles.zarr"
RANKS = "ranks.zarr"
_PARTS = ".parts"


@dataclass(frozen=True, slots=True)
class Workspace:
    """Paths of a screen.

    Attributes
    ----------
    path
        The screen's folder. What is being computed lies in its folder `.parts` and is removed at the end.
    """

    path: Path

    @property
    def parts(self) -> Path:
        """Folder of the unfinished screen."""
        return self.path / _PARTS

    @property
    def profiles(self) -> Path:
        """The Zarr group of profiles."""
        return self.path / PROFILES

    @property
    def ranks(self) -> Path:
        """The Zarr group of ranks."""
        return self.path / RANKS

    @property
    def manifest(self) -> Path:
        """Stands when the screen is complete."""
        return self.path / MANIFEST

    @property
    def conditions(self) -> Path:
        """The plan's conditions, which workers read their rows from."""
        return self.parts / "conditions.parquet"

    @property
    def group_metadata(self) -> Path:
        """The profiles' Zarr metadata as first written; stands when they are ready to be filled."""
        return self.parts / "zarr.json"

    def statistics_of(self, shard: int) -> str:
        """Return where a shard's table of conditions and their statistics lies, relative to the screen."""
        return f"{_PARTS}/statistics/{shard:06d}.parquet"

    def strongest_of(self, shard: int) -> str:
        """Return where a shard's strongest profiles lie in full precision, relative to the screen."""
        return f"{_PARTS}/strongest/{shard:06d}.parquet"

    def record_of(self, shard: int) -> Path:
        """Return the path of a shard's record."""
        return self.parts / "records" / f"{shard:06d}.json"

    def begin(self, plan: ScreenPlan, genes: tuple[str, ...]) -> None:
        """Make the folder for `plan`, or find it there already.

        Raises
        ------
        ConfigError
            The folder holds another screen or something else.
        """
        plan_file = self.parts / "plan.json"
        if plan_file.is_file():
            self._refuse_other(json.loads(plan_file.read_text(encoding="utf-8")), plan)
            return
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"{self.path} is a file. Choose a folder for --out.")
        others = [entry.name for entry in self.path.iterdir()] if self.path.exists() else []
        if any(name != _PARTS for name in others):
            raise ConfigError(
                f"{self.path} is not empty ({', '.join(sorted(others)[:3])}). Choose another --out."
            )
        for name in ("statistics", "strongest", "records"):
            (self.parts / name).mkdir(parents=True, exist_ok=True)
        write_atomically(self.conditions, lambda path: _write_conditions(plan, path))
        write_json(plan_file, {"hash": plan.hash, "genes": list(genes), **plan.facts()})
        sync_directory(self.parts)

    def read_conditions(self, shard: int, shard_rows: int) -> pl.DataFrame:
        """Return the conditions of a shard."""
        return pl.scan_parquet(self.conditions).slice(shard * shard_rows, shard_rows).collect()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the unfinished screen for this process; a killed process holds nothing.

        Raises
        ------
        ConfigError
            Another process is computing this screen.
        """
        with (self.parts / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(
                    f"{self.path} is being computed by another process. Wait for it, or choose another --out."
                ) from error
            yield

    def is_complete(self, plan: ScreenPlan) -> bool:
        """Whether the finished screen of `plan` stands here already."""
        if not self.manifest.is_file():
            return False
        self._refuse_other({"hash": read_manifest(self.path)["plan_hash"]}, plan)
        return True

    def _refuse_other(self, found: dict[str, Any], plan: ScreenPlan) -> None:
        if found.get("hash") != plan.hash:
            raise ConfigError(
                f"{self.path} holds another screen (another library, option or bundle). Choose another "
                "--out, or repeat the command that began it."
            )

    def require_all(self, plan: ScreenPlan) -> None:
        """Check every file of every shard against its record, before anything is made of them.

        Raises
        ------
        CorruptStore
            A shard is missing or its bytes are not the recorded ones.
        """
        missing = sorted(set(range(plan.n_shards)) - set(self.finished_shards(plan)))
        if missing:
            raise CorruptStore(
                f"{self.path}: shard {missing[0]} is missing or damaged ({len(missing)} of {plan.n_shards}). "
                "Run the same command again: these shards are then computed anew."
            )

    def finished_shards(self, plan: ScreenPlan) -> list[int]:
        """Return the shards whose record stands and whose files have the recorded checksums."""
        return [shard for shard in range(plan.n_shards) if self._is_finished(shard)]

    def _is_finished(self, shard: int) -> bool:
        record = self.record_of(shard)
        if not record.is_file():
            return False
        return all(record_problem(self.path, item, checksum=True) is None for item in self.records(shard))

    def records(self, shard: int) -> list[ShardRecord]:
        """Return the files of a finished shard, relative to the screen's folder."""
        rows = json.loads(self.record_of(shard).read_text(encoding="utf-8"))["files"]
        return [ShardRecord(**row) for row in rows]

    def commit(self, shard: int, records: list[ShardRecord]) -> None:
        """Declare a shard finished."""
        write_json(self.record_of(shard), {"shard": shard, "files": [asdict(record) for record in records]})

    def write_table(self, relative: str, frame: pl.DataFrame) -> ShardRecord:
        """Write a parquet table whole or not at all, and measure it."""
        write_atomically(self.path / relative, frame.write_parquet)
        return file_record(self.path, relative, rows=frame.height)

    def publish(self, target: Path, write: Callable[[Path], Any]) -> None:
        """Put a file of the finished screen in its place, whole or not at all.

        It is filled inside `.parts`: a process killed meanwhile leaves nothing beside the finished files.
        """
        unfinished = self.parts / f".{target.name}.new"
        write(unfinished)
        sync_file(unfinished)
        unfinished.replace(target)
        sync_directory(target.parent)

    def clean_up(self) -> None:
        """Remove what only the computation needed."""
        shutil.rmtree(self.parts, ignore_errors=True)


def _write_conditions(plan: ScreenPlan, path: Path) -> None:
    """Write the conditions, a row group a shard."""
    blocks = (block.select(list(IDENTITY_SCHEMA)) for block in plan.conditions.blocks())
    write_blocks(path, rebatched(blocks, plan.settings.shard_rows))


def write_blocks(path: Path, blocks: Iterator[pl.DataFrame]) -> None:
    """Write frames of one schema to a parquet file, a row group a frame; at least one frame is needed."""
    writer: pq.ParquetWriter | None = None
    try:
        for block in blocks:
            table = block.to_arrow()
            if writer is None:
                writer = pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table.cast(writer.schema) if table.schema != writer.schema else table)
    finally:
        if writer is not None:
            writer.close()


def write_atomically(target: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a temporary sibling, sync it and rename it to `target`."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        write(temporary)
        sync_file(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(target.parent)


def read_manifest(path: Path | str) -> dict[str, Any]:
    """Read the manifest of a finished screen.

    Raises
    ------
    ConfigError
        There is none: no screen, or an unfinished one.
    CorruptStore
        It is no JSON.
    """
    target = Path(path) / MANIFEST
    if not target.is_file():
        raise ConfigError(
            f"{path} holds no finished screen. Run its `pertcast screen` command again to finish it."
        )
    try:
        content = json.loads(target.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CorruptStore(
            f"{target} cannot be read ({error}). Run the screen again into another folder."
        ) from error
    if not isinstance(content, dict) or content.get("format") != "pertcast-screen":
        raise CorruptStore(f"{target} does not describe a screen. Name a screen's folder.")
    return content
