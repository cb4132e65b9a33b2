"""The store that an ingest will be: where each row goes, what its matrix is, and how it comes into place.

A store that grows is the same thing with rows before the first.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from pertcast_data.errors import ConfigError, SchemaError
from pertcast_data.ingest.plan import IngestPlan, SourcePlan
from pertcast_data.ingest.rows.columns import SOURCE_ROW
from pertcast_data.ingest.writing.work_plan import DealTask, Part, WorkPlan, file_identity, fingerprint
from pertcast_data.ingest.writing.worker import RUN_BYTES
from pertcast_data.ingest.writing.workspace import Workspace
from pertcast_data.preprocessing import PreprocessingStep
from pertcast_data.progress import ProgressCallback
from pertcast_data.storage.cache import Cache, digest
from pertcast_data.storage.location import is_remote, parse_location
from pertcast_data.storage.objects import ObjectFolder
from pertcast_data.storage.publish import publish_store
from pertcast_data.store.append import continuation, gene_columns, grown_facts, joined_rows
from pertcast_data.store.building.collect import CollectedRows, inverse_permutation
from pertcast_data.store.building.growth import Growth, StoreRun
from pertcast_data.store.building.matrix import MatrixPlan, create_matrix, row_pointers
from pertcast_data.store.conditions import observation_table, storage_order
from pertcast_data.store.create import default_codec, finish_store, store_facts
from pertcast_data.store.expression_store import ExpressionStore
from pertcast_data.store.genes import gene_table
from pertcast_data.store.info import CHUNK_ROWS, SHARD_ROWS, Codec, Layout
from pertcast_data.store.manifest import MANIFEST_NAME, ShardRecord, sync_directory
from pertcast_data.store.staging import exchange_directories, require_free
from pertcast_data.text import listed


@dataclass(frozen=True)
class Writing:
    """How a store is written.

    Attributes
    ----------
    out
        The store.
    seed
        Of the shuffle of rows within a condition.
    codec
        Packing of the values; by layout where None.
    preprocessing
        What was done to the values before.
    appends
        Whether `out` is a store that grows.
    location
        Where the store is published, if it goes to an object store: `out` then is a place in the cache.
    shard_rows, run_bytes
        Rows of a shard and bytes of a sorted run.
    """

    out: Path
    seed: int = 0
    codec: Codec | None = None
    preprocessing: Sequence[PreprocessingStep] = ()
    appends: bool = False
    location: str | None = None
    shard_rows: int = SHARD_ROWS
    run_bytes: int = RUN_BYTES

    @classmethod
    def at(cls, out: Path | str, **options: Any) -> Writing:
        """Return how a store is written to `out`, which may be an s3:// or gs:// location."""
        if not is_remote(out):
            return cls(Path(out), **options)
        place = parse_location(out)
        folder = Cache.from_environment().root / "ingest" / digest(place.url)
        return cls(folder / (place.name or place.bucket), location=place.url, **options)

    def require_possible(self) -> None:
        """Raise ConfigError where the store cannot be written there."""
        if self.location is not None and self.appends:
            raise ConfigError(
                f"{self.location}: rows are appended to local stores only. Append to a local copy and ingest "
                "it to another location, or ingest all files anew."
            )
        if self.appends or Workspace.of(self.out).folder.exists():
            return
        if self.location is None:
            require_free(self.out)
        elif ObjectFolder(self.location).exists(MANIFEST_NAME):
            raise ConfigError(
                f"{self.location}: a store has been committed there. Choose another --out, or delete that "
                "one first."
            )


@dataclass(frozen=True)
class Target:
    """A store to be.

    Attributes
    ----------
    plan
        What goes into it.
    how
        How it is written.
    base
        The store that grows, if one does.
    """

    plan: IngestPlan
    how: Writing
    base: ExpressionStore | None

    @classmethod
    def of(cls, plan: IngestPlan, how: Writing) -> Target:
        """Return the target of a plan; raises SchemaError where a store that grows holds other things."""
        base = ExpressionStore.open(how.out) if how.appends else None
        if base is not None:
            _require_same_kind(plan, base)
        return cls(plan, how, base)

    @property
    def layout(self) -> Layout:
        """Layout of the store."""
        return self.plan.layout if self.base is None else self.base.info.layout

    @cached_property
    def obs(self) -> pl.DataFrame:
        """The new rows in source order, as a store has them."""
        return observation_table(self.plan.obs)

    @cached_property
    def order(self) -> npt.NDArray[np.int64]:
        """Source row of each new stored row."""
        return storage_order(self.obs, self.how.seed if self.base is None else self.base.info.seed)

    @cached_property
    def destinations(self) -> tuple[npt.NDArray[np.int64], ...]:
        """For each file the final place of each of its rows, -1 where it is left out."""
        places = inverse_permutation(self.order) + (0 if self.base is None else self.base.n_rows)
        found, first = [], 0
        for part in self.plan.parts:
            rows = part.obs[SOURCE_ROW].to_numpy()
            destination = np.full(part.source.schema().n_rows, -1, np.int64)
            destination[rows] = places[first : first + len(rows)]
            first += len(rows)
            found.append(destination)
        return tuple(found)

    @cached_property
    def columns(self) -> tuple[npt.NDArray[np.int64] | None, ...]:
        """For each file its genes in the store's order; None where they are all of them already."""
        own = None if self.base is None else gene_columns(self.base, self.plan.var)
        if own is None:
            return self.plan.gene_columns
        return tuple(own if chosen is None else chosen[own] for chosen in self.plan.gene_columns)

    def work_plan(self) -> WorkPlan:
        """Return what workers need to know, cut into tasks."""
        parts = tuple(
            Part(path=part.path.resolve(), options=part.options, identity=file_identity(part.path))
            for part in self.plan.parts
        )
        tasks = tuple(
            task
            for number, part in enumerate(self.plan.parts)
            for task in _tasks(number, part, self.layout, self.how.run_bytes)
        )
        normalisation = self.plan.parts[0].normalisation
        facts: list[Any] = [
            [part.model_dump(mode="json") for part in parts],
            *(self.layout, normalisation, self.plan.var.height, self.how.codec),
            *(self.how.run_bytes, self.how.shard_rows, [task.model_dump() for task in tasks]),
        ]
        columns = [*self.columns]
        return WorkPlan(
            parts=parts,
            layout=self.layout,
            normalisation=normalisation,
            n_genes=self.plan.var.height,
            tasks=tasks,
            run_bytes=self.how.run_bytes,
            base=None if self.base is None else self.how.out.resolve(),
            location=self.how.location,
            request=fingerprint(facts, [self.order, *columns]),
            fingerprint=fingerprint(
                [*facts, None if self.base is None else self.base.data_hash], [*self.destinations, *columns]
            ),
        )

    def begin_matrix(self, work: Workspace) -> None:
        """Plan X, now that every value has been seen, and create its arrays."""
        runs = work.all_runs
        rows = CollectedRows(self.layout, runs, self.plan.obs.height)
        growth = Growth()
        if self.base is None:
            plan = MatrixPlan.fit(
                self.layout,
                self.how.codec or default_codec(self.layout),
                (rows.n_rows, self.plan.var.height),
                rows.n_values,
                rows.value_type,
                (CHUNK_ROWS, self.how.shard_rows),
            )
            pointers = row_pointers(plan, runs)
        else:
            plan, growth = continuation(
                self.base, rows.n_rows, rows.n_values, rows.value_type, self.how.shard_rows
            )
            pointers = row_pointers(plan, (StoreRun(self.base.path, self.base.info), *runs))
        shutil.rmtree(work.store, ignore_errors=True)
        work.store.mkdir()
        create_matrix(work.store, plan)
        growth.link_into(work.store)
        work.begin_matrix(plan, pointers, growth.first_shard)

    def grown(self, work: Workspace) -> Growth:
        """Return what the store takes over from the one that grows."""
        if self.base is None or not work.first_shard:
            return Growth()
        return Growth.of(self.base.path, self.base.info)

    def finish(self, work: Workspace, records: Sequence[ShardRecord]) -> None:
        """Write the tables and the manifest of a store whose matrix is complete."""
        rows, var = self.obs[self.order], gene_table(self.plan.var)
        names = tuple(part.path.name for part in self.plan.parts)
        if self.base is None:
            facts = store_facts(
                work.matrix,
                measure=self.plan.parts[0].measure,
                normalisation=self.plan.parts[0].normalisation,
                seed=self.how.seed,
                sources=names,
                preprocessing=self.how.preprocessing,
            )
        else:
            facts = grown_facts(self.base, work.matrix, names)
            rows, var = joined_rows(self.base.obs, rows), self.base.var
        work.mark_result(finish_store(work.store, facts, records, rows, var))

    def commit(self, work: Workspace, progress: ProgressCallback) -> None:
        """Move the finished store into place, or publish it, and remove the workspace."""
        sync_directory(work.store)
        if self.how.location is not None:
            publish_store(work.store, self.how.location, progress)
            work.clear()
            return
        if self.base is None:
            require_free(self.how.out)
            os.rename(work.store, self.how.out)
        else:
            exchange_directories(work.store, self.how.out)
        sync_directory(self.how.out.parent)
        work.clear()


def require_new_rows(plan: IngestPlan, base: ExpressionStore) -> None:
    """Raise SchemaError where a store that grows has rows of the same ids already."""
    known = plan.obs["sig_id"].filter(plan.obs["sig_id"].is_in(base.obs["sig_id"].implode()))
    if len(known):
        raise SchemaError(
            f"{base.path}: {len(known):,} of {plan.obs.height:,} rows stand in it already, by their ids "
            f"({listed(known, 3)}). They were appended before; if the ids mean something else, give others "
            "by `sig_id:` in the mapping file."
        )


def _require_same_kind(plan: IngestPlan, base: ExpressionStore) -> None:
    part = plan.parts[0]
    if (part.measure, part.normalisation) != (base.measure, base.normalisation):
        raise SchemaError(
            f"{base.path} holds {base.measure}, {base.normalisation}; the files hold {part.measure}, "
            f"{part.normalisation}. Ingest them into another store, or say `normalisation:` in the mapping "
            "file if a guess is wrong."
        )


def _tasks(number: int, part: SourcePlan, layout: Layout, run_bytes: int) -> list[DealTask]:
    schema = part.source.schema()
    per_row = max(1, part.estimated_bytes(layout, schema.n_genes) // max(part.obs.height, 1))
    step = max(1, run_bytes * 2 // 3 // per_row) if schema.is_splittable else schema.n_rows
    return [
        DealTask(part=number, start=start, stop=min(start + step, schema.n_rows))
        for start in range(0, schema.n_rows, max(step, 1))
    ]
