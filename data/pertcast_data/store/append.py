"""Adds rows to a store without touching what it holds.

The grown store is built beside the old one, which stays valid until both change places; complete shards
are taken over by a link, only the last, partly filled one is written again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast_data.errors import SchemaError
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.store.collect import BucketSpec, CollectedRows, collect_rows, inverse_permutation
from pertcast_data.store.conditions import observation_table, storage_order
from pertcast_data.store.create import finish_store, store_facts, written_rows
from pertcast_data.store.expression_store import ExpressionStore
from pertcast_data.store.genes import gene_names
from pertcast_data.store.info import SHARD_ROWS
from pertcast_data.store.manifest import ShardRecord, read_manifest
from pertcast_data.store.matrix_writer import MatrixPlan, MatrixStart, write_matrix
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
    columns = _gene_columns(store, var)
    observations = observation_table(obs)
    order = storage_order(observations, store.info.seed)
    with staging_directory(target, replace=True) as staged:
        rows = collect_rows(
            batches if columns is None else (batch[:, columns] for batch in batches),
            destination=inverse_permutation(order),
            n_genes=store.n_genes,
            layout=store.info.layout,
            normalisation=store.normalisation,
            buckets=BucketSpec(shard_rows, staged, memory_budget_bytes),
            progress=progress,
        )
        plan, start = _continuation(store, rows, shard_rows)
        records = write_matrix(staged, plan, rows.in_order(), written_rows(progress, rows.n_rows), start)
        facts = store_facts(
            plan,
            measure=store.measure,
            normalisation=store.normalisation,
            seed=store.info.seed,
            sources=(*store.info.sources, *sources),
            preprocessing=store.info.preprocessing,
        )
        finish_store(staged, facts, records, _joined(store.obs, observations[order]), store.var)
    return ExpressionStore.open(target)


def _gene_columns(store: ExpressionStore, var: pl.DataFrame) -> NDArray[np.int64] | None:
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


def _continuation(
    store: ExpressionStore, rows: CollectedRows, shard_rows: int
) -> tuple[MatrixPlan, MatrixStart]:
    """Plan the grown matrix: keep complete shards where types allow it, else write everything anew."""
    info = store.info
    n_rows = info.n_rows + rows.n_rows
    n_values = info.n_values + rows.n_values
    stored_type = open_array(store.path, "X/data" if info.layout == "csr" else "X", "r").dtype
    value_type = widest(stored_type, rows.value_type) if info.layout == "csr" else VALUE_TYPES[-1]
    shard_length, complete = _complete_shards(store)
    if not complete or value_type != stored_type:
        shape = (n_rows, info.n_genes)
        plan = MatrixPlan.fit(
            info.layout, info.codec, shape, n_values, value_type, (info.chunk_rows, shard_rows)
        )
        return plan, _start(store, 0, shard_length, ())
    array = open_array(store.path, "X/indices" if info.layout == "csr" else "X", "r")
    plan = MatrixPlan(
        info.layout,
        info.codec,
        n_rows,
        info.n_genes,
        n_values,
        value_type,
        info.chunk_rows,
        info.shard_rows,
        array.chunks[0],
        shard_length,
    )
    return plan, _start(store, complete, shard_length, _linked(store, complete))


def _complete_shards(store: ExpressionStore) -> tuple[int, int]:
    """Return the length of a shard and how many are full."""
    array = open_array(store.path, "X/indices" if store.info.layout == "csr" else "X", "r")
    length = (array.shards or array.chunks)[0]
    return length, array.shape[0] // length


def _linked(store: ExpressionStore, complete: int) -> list[ShardRecord]:
    names = ("X/indices", "X/data") if store.info.layout == "csr" else ("X",)
    kept = []
    for record in read_manifest(store.path).records:
        array, _, coordinates = record.path.partition("/c/")
        if array in names and int(coordinates.split("/")[0]) < complete:
            kept.append(record)
    return kept


def _start(
    store: ExpressionStore, complete: int, shard_length: int, linked: Sequence[ShardRecord]
) -> MatrixStart:
    lengths = np.empty(0, np.int64)
    if store.info.layout == "csr":
        indptr: NDArray[np.int64] = np.asarray(open_array(store.path, "X/indptr", "r")[:], dtype=np.int64)
        lengths = indptr[1:] - indptr[:-1]
    return MatrixStart(store.path, linked, complete, _pieces(store, complete, shard_length), lengths)


def _pieces(store: ExpressionStore, complete: int, shard_length: int) -> Iterator[tuple[NDArray[Any], ...]]:
    """Yield the stored values after the complete shards, a shard at a time."""
    names = ("X/indices", "X/data") if store.info.layout == "csr" else ("X",)
    arrays = [open_array(store.path, name, "r") for name in names]
    for begin in range(complete * shard_length, arrays[0].shape[0], shard_length):
        yield tuple(np.asarray(array[begin : begin + shard_length]) for array in arrays)


def _joined(old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    try:
        return pl.concat([old, new], how="diagonal_relaxed")
    except (pl.exceptions.SchemaError, pl.exceptions.InvalidOperationError) as error:
        raise SchemaError(
            f"A column of the new rows has another type than in the store ({error}). Make the types equal."
        ) from error
