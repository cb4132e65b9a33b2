"""One worker of an ingest: sorts ranges of rows, writes shards, and says so in the workspace.

It needs nothing but the folder, so it may live in any process that sees it; a piece that is done twice is
done to the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final, Literal, Protocol

import numpy as np

from pertcast_data.errors import FormatError, SchemaError
from pertcast_data.ingest.values.normalisation import ValueWatch
from pertcast_data.ingest.writing.selection import selected
from pertcast_data.ingest.writing.workspace import Workspace
from pertcast_data.readers.registry import open_source
from pertcast_data.readers.source import ProfileBatch
from pertcast_data.storage.publish import publish_file
from pertcast_data.store.building.collect import RunCollector
from pertcast_data.store.building.growth import StoreRun
from pertcast_data.store.building.matrix import write_shard
from pertcast_data.store.building.runs import Run
from pertcast_data.store.disk_space import disk_errors
from pertcast_data.store.expression_store import store_info
from pertcast_data.store.manifest import read_manifest
from pertcast_data.store.row_blocks import NarrowBatch, narrow_batch

Stage = Literal["deal", "write"]
RUN_BYTES: Final = 192 << 20
"""Bytes of narrow rows in a sorted run; a worker holds them twice while it sorts."""
FULL_DISK_REMEDY: Final = "Free space there and run the same command again: it goes on where it stopped."


class Runner(Protocol):
    """Has the pieces of a stage done, in any order and by any number of workers."""

    def __call__(self, folder: Path, stage: Stage, numbers: Sequence[int]) -> Iterator[int]:
        """Yield the number of each piece once it is done; a worker's error is raised here."""
        ...


class IngestWorker:
    """Does pieces of the ingest in `folder`.

    Parameters
    ----------
    folder
        A workspace that has begun.
    """

    def __init__(self, folder: Path) -> None:
        self._work = Workspace(folder)

    def run(self, stage: Stage, number: int) -> None:
        """Do one piece; raises what reading or writing raises, and leaves nothing that counts then."""
        with disk_errors(self._work.folder, FULL_DISK_REMEDY):
            if stage == "deal":
                self._deal(number)
            else:
                self._write(number)

    def _narrow(self, batch: ProfileBatch, path: Path, first_row: int) -> NarrowBatch:
        plan = self._work.plan
        try:
            return narrow_batch(batch, plan.layout, plan.n_genes, plan.normalisation, first_row)
        except SchemaError as error:
            raise SchemaError(
                f"{path}: {error} Or leave out profiles with missing values, in the mapping file: `quality: "
                "{drop_rows_with_missing: true}`."
            ) from None

    def _deal(self, number: int) -> None:
        plan = self._work.plan
        task = plan.tasks[number]
        part = plan.parts[task.part]
        places = np.asarray(self._work.destinations(task.part)[task.start : task.stop])
        watch = ValueWatch(part.path, first_row=task.start)
        batches = open_source(part.path, **part.options).batches(start=task.start, stop=task.stop)
        is_kept = places >= 0
        collector = RunCollector(self._work.runs, plan.run_bytes, keep_last=False, name=f"{number}-")
        wanted, first = places[is_kept], 0
        chosen = selected(watch.watch(batches), is_kept, self._work.columns(task.part), plan.layout)
        for batch in chosen:
            narrow = self._narrow(batch, part.path, task.start + first)
            collector.add(narrow, wanted[first : first + narrow.n_rows])
            first += narrow.n_rows
        if first != len(wanted):
            raise FormatError(
                f"{part.path}: rows {task.start:,} to {task.stop - 1:,} ended after {first:,} of "
                f"{len(wanted):,} that were expected. The file changed or is damaged: ingest it again."
            )
        facts = {"n_missing": watch.n_missing, "rows_with_missing": watch.rows_with_missing}
        self._work.mark_dealt(number, {"runs": len(collector.finish()), **facts})

    def _write(self, shard: int) -> None:
        records = write_shard(self._work.store, self._work.matrix, self._runs, self._work.pointers, shard)
        if self._work.plan.location is not None:
            for record in (each for each in records if each.bytes):
                file = self._work.store / record.path
                publish_file(file, self._work.plan.location, record.path, record)
        self._work.mark_written(shard, records)

    @cached_property
    def _runs(self) -> tuple[Run, ...]:
        base = self._work.plan.base
        if base is None:
            return self._work.all_runs
        return (StoreRun(base, store_info(base, read_manifest(base))), *self._work.all_runs)


def in_process(folder: Path, stage: Stage, numbers: Sequence[int]) -> Iterator[int]:
    """Do the pieces here, one after the other."""
    worker = IngestWorker(folder)
    for number in numbers:
        worker.run(stage, number)
        yield number
