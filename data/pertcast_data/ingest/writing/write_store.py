"""From a plan of an ingest to the store: runs are sorted, shards written, and the whole committed.

Interrupted at any point, the same call goes on with what is complete and ends with the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from pertcast_data.errors import PertcastError, StorageError
from pertcast_data.ingest.plan import IngestPlan
from pertcast_data.ingest.writing.target import Target, Writing, require_new_rows
from pertcast_data.ingest.writing.worker import FULL_DISK_REMEDY, Runner
from pertcast_data.ingest.writing.workspace import Workspace
from pertcast_data.progress import ProgressCallback
from pertcast_data.store.building.matrix import write_row_pointers
from pertcast_data.store.disk_space import disk_errors
from pertcast_data.store.expression_store import ExpressionStore
from pertcast_data.store.manifest import ShardRecord
from pertcast_data.store.staging import require_free


@dataclass(frozen=True)
class Written:
    """What only writing could tell.

    Attributes
    ----------
    n_missing, rows_with_missing
        For each file, missing values and profiles that have some.
    went_on
        Whether an ingest that had stopped was gone on with.
    """

    n_missing: tuple[int, ...]
    rows_with_missing: tuple[int, ...]
    went_on: bool


def write_store(plan: IngestPlan, how: Writing, runner: Runner, progress: ProgressCallback) -> Written:
    """Write the planned rows into a new store, or behind those of a store that grows.

    Raises
    ------
    ConfigError
        `how.out` exists already (or is no store), or another ingest writes it.
    SchemaError
        The values, rows or genes do not fit. Nothing is left behind, and a store that was there is unchanged.
    StorageError
        The disk is full; the same call goes on once there is space.
    """
    how.require_possible()
    work = Workspace.of(how.out)
    with work.locked(), disk_errors(work.folder, FULL_DISK_REMEDY):
        try:
            return _write(plan, how, work, runner, progress)
        except StorageError:
            raise
        except PertcastError:
            work.clear()
            raise


def _write(
    plan: IngestPlan, how: Writing, work: Workspace, runner: Runner, progress: ProgressCallback
) -> Written:
    target = Target.of(plan, how)
    work_plan = target.work_plan()
    if how.out.exists() and work.has_ended_in(work_plan.request, ExpressionStore.open(how.out).data_hash):
        written = _seen(work, went_on=True)
        work.clear()
        return written
    if target.base is None:
        require_free(how.out)
    else:
        require_new_rows(plan, target.base)
    went_on = work.begin(work_plan, target.destinations, target.columns)
    _deal(work, runner, plan.obs.height, progress)
    records = _write_shards(work, target, runner, plan.obs.height, progress)
    target.finish(work, records)
    written = _seen(work, went_on)
    target.commit(work, progress)
    return written


def _deal(work: Workspace, runner: Runner, n_rows: int, progress: ProgressCallback) -> None:
    tasks = work.plan.tasks
    total = max(sum(task.n_rows for task in tasks), 1)
    waiting = [number for number in range(len(tasks)) if not work.is_dealt(number)]
    done = total - sum(tasks[number].n_rows for number in waiting)
    for number in runner(work.folder, "deal", waiting):
        done += tasks[number].n_rows
        progress(n_rows * done // total, 2 * n_rows, "reading")


def _write_shards(
    work: Workspace, target: Target, runner: Runner, n_rows: int, progress: ProgressCallback
) -> list[ShardRecord]:
    if not work.has_matrix:
        target.begin_matrix(work)
    plan, grown = work.matrix, target.grown(work)
    shards = range(grown.first_shard, plan.n_shards)
    waiting = [shard for shard in shards if not work.is_written(shard)]
    done = len(shards) - len(waiting)
    for _ in runner(work.folder, "write", waiting):
        done += 1
        progress(n_rows + n_rows * done // len(shards), 2 * n_rows, "writing")
    records = [*grown.linked, *(record for shard in shards for record in work.written(shard))]
    return records + write_row_pointers(work.store, plan, work.pointers)


def _seen(work: Workspace, went_on: bool) -> Written:
    parts = range(len(work.plan.parts))
    missing, rows = [0 for _ in parts], [0 for _ in parts]
    for number, task in enumerate(work.plan.tasks):
        facts = work.dealt(number)
        missing[task.part] += facts["n_missing"]
        rows[task.part] += facts["rows_with_missing"]
    return Written(tuple(missing), tuple(rows), went_on)
