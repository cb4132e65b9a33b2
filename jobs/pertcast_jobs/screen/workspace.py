"""The folder of a screen while it is computed: its plan, and a verified record for every finished shard.

A shard counts as done when its record stands and every file that the record lists has the recorded
checksum; whatever else a killed process left behind is computed again and overwritten.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
from pertcast.screens.files import CONDITIONS, MANIFEST, PARTS, PLAN, PROFILES, RANKS, RECORD
from pertcast.screens.manifest import read_manifest
from pertcast.training.files import sync_file, write_json
from pertcast_data.errors import ConfigError, CorruptStore
from pertcast_data.store.manifest import ShardRecord, file_record, record_problem, sync_directory

from pertcast_jobs.screen.conditions import IDENTITY_SCHEMA, rebatched
from pertcast_jobs.screen.plan import ScreenPlan


class ScreenUrl(str):
    """Where a screen is in a bucket; `/` names what is in it, as of a path."""

    def __truediv__(self, name: str) -> ScreenUrl:
        return ScreenUrl(f"{self}/{name}")


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
    def place(self) -> Path | ScreenUrl:
        """Where the finished screen is, as a user names it."""
        return self.path

    @property
    def location(self) -> str | None:
        """The place in a bucket that shards are published to; None for a local screen."""
        return None

    @property
    def parts(self) -> Path:
        """Folder of the unfinished screen."""
        return self.path / PARTS

    @property
    def plan_file(self) -> Path:
        """Stands when the folder is made for a plan."""
        return self.path / PLAN

    @property
    def lock_file(self) -> Path:
        """Held by the process that computes the screen."""
        return self.parts / "lock"

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
        return self.path / CONDITIONS

    @property
    def group_metadata(self) -> Path:
        """The profiles' Zarr metadata as first written; stands when they are ready to be filled."""
        return self.parts / "zarr.json"

    def statistics_of(self, shard: int) -> str:
        """Return where a shard's table of conditions and their statistics lies, relative to the screen."""
        return f"{PARTS}/statistics/{shard:06d}.parquet"

    def strongest_of(self, shard: int) -> str:
        """Return where a shard's strongest profiles lie in full precision, relative to the screen."""
        return f"{PARTS}/strongest/{shard:06d}.parquet"

    def record_of(self, shard: int) -> Path:
        """Return the path of a shard's record."""
        return self.path / RECORD.format(shard=shard)

    def begin(self, plan: ScreenPlan, genes: tuple[str, ...]) -> None:
        """Make the folder for `plan`, or find it there already.

        Raises
        ------
        ConfigError
            The folder holds another screen or something else.
        """
        if self.plan_file.is_file():
            self._refuse_other(json.loads(self.plan_file.read_text(encoding="utf-8")), plan)
            return
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"{self.path} is a file. Choose a folder for --out.")
        others = [entry.name for entry in self.path.iterdir()] if self.path.exists() else []
        if any(name != PARTS for name in others):
            raise ConfigError(
                f"{self.path} is not empty ({', '.join(sorted(others)[:3])}). Choose another --out."
            )
        self.begin_with(plan, genes, identities(plan))

    def begin_with(
        self, plan: ScreenPlan, genes: tuple[str, ...], conditions: Iterator[pl.DataFrame]
    ) -> None:
        """Make the folder for a plan with the conditions given, `IDENTITY_SCHEMA`."""
        self.make_folders()
        by_shard = rebatched(conditions, plan.settings.shard_rows)
        write_atomically(self.conditions, lambda path: write_blocks(path, by_shard))
        write_json(self.plan_file, plan_content(plan, genes))
        sync_directory(self.parts)

    def make_folders(self) -> None:
        """Make the folders that shards are written to."""
        for name in ("statistics", "strongest", "records"):
            (self.parts / name).mkdir(parents=True, exist_ok=True)

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
        with self.lock_file.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(
                    f"{self.place} is being computed by another process. Wait for it, or choose "
                    "another --out."
                ) from error
            yield

    def is_complete(self, plan: ScreenPlan) -> bool:
        """Whether the finished screen of `plan` stands here already."""
        if not self.is_written:
            return False
        self._refuse_other({"hash": read_manifest(self.path)["plan_hash"]}, plan)
        return True

    @property
    def is_written(self) -> bool:
        """Whether this folder holds the whole screen, whatever is still to be done with it."""
        return self.manifest.is_file()

    def _refuse_other(self, found: Mapping[str, Any], plan: ScreenPlan) -> None:
        if found.get("hash") != plan.hash:
            raise ConfigError(
                f"{self.place} holds another screen (another library, option or bundle). Choose another "
                "--out, or repeat the command that began it."
            )

    def require_all(self, plan: ScreenPlan) -> None:
        """Check every file of every shard against its record, before anything is made of them.

        Raises
        ------
        CorruptStore
            A shard is missing or its bytes are not the recorded ones.
        """
        self._refuse_missing(set(range(plan.n_shards)) - set(self.finished_shards(plan)), plan)

    def _refuse_missing(self, missing: Set[int], plan: ScreenPlan) -> None:
        if missing:
            raise CorruptStore(
                f"{self.place}: shard {min(missing)} is missing or damaged ({len(missing)} of "
                f"{plan.n_shards}). Run the same command again: these shards are then computed anew."
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

    def offer(self, names: Iterable[str]) -> None:
        """Give workers the files they read: those of a local screen read them here."""

    def obtain(self, names: Iterable[str]) -> None:
        """Get the files that a worker reads: those of a local screen are here."""

    def deliver(self, tell: Callable[[str], None]) -> None:
        """Bring the finished screen to its place: a local one is there."""

    def release(self) -> None:
        """Remove what is left of the computation of a screen that stands in its place."""
        self.clean_up()

    def finished_file(self, name: str) -> Path:
        """Return a local path of a file of the finished screen."""
        return self.path / name


def identities(plan: ScreenPlan) -> Iterator[pl.DataFrame]:
    """Yield the conditions of a plan in blocks, `IDENTITY_SCHEMA`."""
    return (block.select(list(IDENTITY_SCHEMA)) for block in plan.conditions.blocks())


def plan_content(plan: ScreenPlan, genes: tuple[str, ...]) -> dict[str, Any]:
    """Return what the file of a plan holds."""
    return {"hash": plan.hash, "genes": list(genes), **plan.facts()}


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
