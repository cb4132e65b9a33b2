"""Adds rows to a store without touching what it holds.

The grown store is built beside the old one, which stays valid until both change places; complete shards
are taken over by a link, only the last, partly filled one is written again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast_data.errors import SchemaError
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.store.building.collect import RunCollector, collect_rows, inverse_permutation
from pertcast_data.store.building.growth import Growth, StoreRun
from pertcast_data.store.building.matrix import MatrixPlan
from pertcast_data.store.conditions import observation_table, storage_order
from pertcast_data.store.create import RUN_FOLDER, finish_store, store_facts, write_matrix, written_share
from pertcast_data.store.expression_store import ExpressionStore
from pertcast_data.store.genes import gene_names
from pertcast_data.store.info import SHARD_ROWS, StoreInfo
from pertcast_data.store.row_blocks import VALUE_TYPES, widest
from pertcast_data.store.staging import staging_directory
from pertcast_data.store.zarr_layout import open_array


def append_rows(
    path: Path | str,
    obs: pl.DataFrame,
    var: pl.DataFrame,
    batches: Iterable[Any],
    *,
    sources: Sequence[str] = (),
    progress: ProgressCallback = no_progress,
    memory_budget_bytes: int = 1 << 28,
    shard_rows: int = SHARD_ROWS,
) -> ExpressionStore:
    """Add rows after those of the store at `path` and open the result.

    The new rows are sorted among themselves as `create_store` sorts; old rows keep their numbers. Measure,
    normalisation, layout and codec are the store's.

    Parameters
    ----------
    path
        A store.
    obs, batches
        As for `create_store`; columns that only one side has are null on the other.
    var
        The genes of `batches`: the store's genes, in any order.
    sources
        Names of the source files, added to the record.
    memory_budget_bytes
        As for `create_store`.
    shard_rows
        Rows of a shard, where the store is still smaller than one.

    Raises
    ------
    SchemaError
        The genes are not those of the store, or tables and batches do not agree. The store is unchanged.
    """
    target = Path(path)
    store = ExpressionStore.open(target)
    columns = gene_columns(store, var)
    observations = observation_table(obs)
    order = storage_order(observations, store.info.seed)
    with staging_directory(target, replace=True) as staged:
        rows = collect_rows(
            batches if columns is None else (batch[:, columns] for batch in batches),
            destination=inverse_permutation(order) + store.n_rows,
            n_genes=store.n_genes,
            layout=store.info.layout,
            normalisation=store.normalisation,
            collector=RunCollector(staged / RUN_FOLDER, memory_budget_bytes // 2),
            progress=progress,
        )
        plan, grown = continuation(store, rows.n_rows, rows.n_values, rows.value_type, shard_rows)
        runs = (StoreRun(target, store.info), *rows.runs)
        records = write_matrix(staged, plan, runs, written_share(progress, rows.n_rows), grown)
        facts = grown_facts(store, plan, sources)
        finish_store(staged, facts, records, joined_rows(store.obs, observations[order]), store.var)
    return ExpressionStore.open(target)


def continuation(
    store: ExpressionStore, n_rows: int, n_values: int, value_type: np.dtype[Any], shard_rows: int
) -> tuple[MatrixPlan, Growth]:
    """Plan the matrix grown by new rows: keep complete shards where types allow it, else write all anew.

    Parameters
    ----------
    store
        The store that grows.
    n_rows, n_values, value_type
        Of the new rows.
    shard_rows
        Rows of a shard, where no shard is complete yet.
    """
    info = store.info
    rows, values = info.n_rows + n_rows, info.n_values + n_values
    stored_type = StoreRun(store.path, info).value_type
    needed = widest(stored_type, value_type) if info.layout == "csr" else VALUE_TYPES[-1]
    grown = Growth.of(store.path, info)
    if not grown.first_shard or needed != stored_type:
        shape = (rows, info.n_genes)
        return (
            MatrixPlan.fit(info.layout, info.codec, shape, values, needed, (info.chunk_rows, shard_rows)),
            Growth(),
        )
    array = open_array(store.path, "X/indices" if info.layout == "csr" else "X", "r")
    lengths = (array.chunks[0], (array.shards or array.chunks)[0])
    plan = MatrixPlan(
        *(info.layout, info.codec, rows, info.n_genes, values, needed, info.chunk_rows, info.shard_rows),
        *lengths,
    )
    return plan, grown


def grown_facts(store: ExpressionStore, plan: MatrixPlan, sources: Sequence[str]) -> StoreInfo:
    """Return the facts of a store that has grown by rows of `sources`."""
    return store_facts(
        plan,
        measure=store.measure,
        normalisation=store.normalisation,
        seed=store.info.seed,
        sources=(*store.info.sources, *sources),
        preprocessing=store.info.preprocessing,
    )


def gene_columns(store: ExpressionStore, var: pl.DataFrame) -> NDArray[np.int64] | None:
    """Return the columns of a batch in the store's order of genes, or None where they already are."""
    names = gene_names(var)
    if names == store.genes:
        return None
    column_of = {name: column for column, name in enumerate(names)}
    missing = [name for name in store.genes if name not in column_of]
    extra = set(names) - set(store.genes)
    if missing or extra:
        raise SchemaError(
            f"The genes are not those of {store.path}: {len(missing)} are missing "
            f"(e.g. {', '.join(missing[:3]) or '-'}), "
            f"{len(extra)} unknown to it (e.g. {', '.join(sorted(extra)[:3]) or '-'}). "
            "Make a new store from both sources, or select the store's genes."
        )
    return np.array([column_of[name] for name in store.genes], dtype=np.int64)


def joined_rows(old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """Return the observations of a store that has grown; raises SchemaError where types differ."""
    try:
        return pl.concat([old, new], how="diagonal_relaxed")
    except (pl.exceptions.SchemaError, pl.exceptions.InvalidOperationError) as error:
        raise SchemaError(
            f"A column of the new rows has another type than in the store ({error}). Make the types equal."
        ) from error
