"""Makes a store from batches in source order, in bounded memory and all or nothing.

One pass sorts the rows into runs, a second writes the shards in storage order; the finished folder is
renamed into place.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

import polars as pl

from pertcast_data.preprocessing import PreprocessingStep
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.store.building.collect import RunCollector, collect_rows, inverse_permutation
from pertcast_data.store.building.growth import Growth
from pertcast_data.store.building.matrix import (
    MatrixPlan,
    create_matrix,
    row_pointers,
    write_row_pointers,
    write_shard,
)
from pertcast_data.store.building.runs import Run
from pertcast_data.store.conditions import observation_table, storage_order
from pertcast_data.store.data_hash import content_hash
from pertcast_data.store.expression_store import ExpressionStore
from pertcast_data.store.genes import gene_names, gene_table
from pertcast_data.store.info import CHUNK_ROWS, SHARD_ROWS, Codec, Layout, StoreInfo
from pertcast_data.store.manifest import ShardRecord, commit_manifest
from pertcast_data.store.staging import require_free, staging_directory
from pertcast_data.store.zarr_layout import write_obs
from pertcast_data.vocabulary import Measure, Normalisation

RUN_FOLDER: Final = ".rows"
_DEFAULT_CODEC: Final = MappingProxyType[Layout, Codec]({"csr": "train", "dense": "none"})


def create_store(
    path: Path | str,
    *,
    obs: pl.DataFrame,
    var: pl.DataFrame,
    batches: Iterable[Any],
    measure: Measure,
    normalisation: Normalisation,
    layout: Layout | Literal["auto"] = "auto",
    codec: Codec | None = None,
    seed: int = 0,
    sources: Sequence[str] = (),
    preprocessing: Sequence[PreprocessingStep] = (),
    progress: ProgressCallback = no_progress,
    memory_budget_bytes: int = 1 << 28,
    chunk_rows: int = CHUNK_ROWS,
    shard_rows: int = SHARD_ROWS,
) -> ExpressionStore:
    """Write a store and open it.

    Rows are sorted by context, controls first, then condition, and shuffled within a condition.

    Parameters
    ----------
    path
        Where; must not exist. Nothing is left there or beside it when anything goes wrong.
    obs
        One row a profile, in source order. Missing columns of OBS_COLUMNS are added as null; doses are uM and
        times hours. `condition_id` and `is_control` are computed here.
    var
        One row a gene, with gene_symbol or gene_id.
    batches
        (M, G) arrays or scipy sparse matrices in source order, together as many rows as `obs`. They are kept
        for a while: memory that a batch came in must not be used again for the next.
    measure, normalisation
        What the values are. "counts" are stored raw.
    layout
        "auto": "csr" for sparse batches, "dense" for arrays.
    codec
        "none", "train" or "archive"; by default "train" for csr and "none" for dense.
    seed
        Of the shuffle.
    sources
        Names of the source files, for the record.
    preprocessing
        What was done to the values before, for the leakage auditor.
    memory_budget_bytes
        Rows beyond this many bytes wait in temporary files beside `path`.
    chunk_rows, shard_rows
        Rows of a chunk and of a shard; the defaults are what reading is tuned for.

    Raises
    ------
    ConfigError
        `path` exists.
    SchemaError
        Tables and batches do not agree, or values contradict `normalisation`.
    """
    target = Path(path)
    require_free(target)
    observations, genes = observation_table(obs), gene_table(var)
    order = storage_order(observations, seed)
    with staging_directory(target) as staged:
        rows = collect_rows(
            batches,
            destination=inverse_permutation(order),
            n_genes=len(gene_names(genes)),
            layout=layout,
            normalisation=normalisation,
            collector=RunCollector(staged / RUN_FOLDER, memory_budget_bytes // 2),
            progress=progress,
        )
        plan = MatrixPlan.fit(
            rows.layout,
            codec or default_codec(rows.layout),
            (rows.n_rows, genes.height),
            rows.n_values,
            rows.value_type,
            (chunk_rows, shard_rows),
        )
        records = write_matrix(staged, plan, rows.runs, written_share(progress, rows.n_rows))
        facts = store_facts(
            plan,
            measure=measure,
            normalisation=normalisation,
            seed=seed,
            sources=sources,
            preprocessing=preprocessing,
        )
        finish_store(staged, facts, records, observations[order], genes)
    return ExpressionStore.open(target)


def write_matrix(
    staged: Path,
    plan: MatrixPlan,
    runs: Sequence[Run],
    wrote: Callable[[int, int], None],
    grown: Growth | None = None,
) -> list[ShardRecord]:
    """Write X whole, shard after shard, and forget the runs' files.

    Parameters
    ----------
    staged
        The folder of a store to be.
    plan, runs
        What is written.
    wrote
        Told of shards done and shards in all.
    grown
        The complete shards of an older version that are taken over.
    """
    grown = grown or Growth()
    create_matrix(staged, plan)
    records = grown.link_into(staged)
    pointers = row_pointers(plan, runs)
    for shard in range(grown.first_shard, plan.n_shards):
        records += write_shard(staged, plan, runs, pointers, shard)
        wrote(shard + 1, plan.n_shards)
    records += write_row_pointers(staged, plan, pointers)
    shutil.rmtree(staged / RUN_FOLDER, ignore_errors=True)
    return records


def default_codec(layout: Layout) -> Codec:
    """Return how values are packed where nobody says: counts for training, dense rows not at all."""
    return _DEFAULT_CODEC[layout]


def store_facts(
    plan: MatrixPlan,
    *,
    measure: Measure,
    normalisation: Normalisation,
    seed: int,
    sources: Sequence[str],
    preprocessing: Sequence[PreprocessingStep] = (),
) -> StoreInfo:
    """Return the facts of a store about to be finished; its hash is not known yet."""
    return StoreInfo(
        measure=measure,
        normalisation=normalisation,
        layout=plan.layout,
        codec=plan.codec,
        n_rows=plan.n_rows,
        n_genes=plan.n_genes,
        n_values=plan.n_values,
        chunk_rows=plan.chunk_rows,
        shard_rows=plan.shard_rows,
        data_hash="",
        seed=seed,
        sources=tuple(sources),
        preprocessing=tuple(preprocessing),
    )


def finish_store(
    staged: Path, info: StoreInfo, records: Sequence[ShardRecord], obs: pl.DataFrame, var: pl.DataFrame
) -> str:
    """Write the tables of a store whose matrix is complete, commit it, and return its hash."""
    write_obs(staged, obs, var)
    data_hash = content_hash(records, obs, gene_names(var))
    commit_manifest(staged, records, {"store": info.model_copy(update={"data_hash": data_hash}).model_dump()})
    return data_hash


def written_share(progress: ProgressCallback, n_rows: int) -> Callable[[int, int], None]:
    """Return what turns shards into progress in rows: the second half of the way."""

    def report(done: int, total: int) -> None:
        progress(n_rows + n_rows * done // total, 2 * n_rows, "writing")

    return report
