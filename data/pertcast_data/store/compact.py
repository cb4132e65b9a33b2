"""Brings a store that has grown into the order and the shards of one made in one go.

Appended rows stand behind the old ones; training reads them in shorter runs until the store is compacted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.store.building.collect import RunCollector, collect_rows, inverse_permutation
from pertcast_data.store.building.matrix import MatrixPlan
from pertcast_data.store.conditions import storage_order
from pertcast_data.store.create import RUN_FOLDER, finish_store, store_facts, write_matrix, written_share
from pertcast_data.store.expression_store import ExpressionStore
from pertcast_data.store.info import SHARD_ROWS, Codec
from pertcast_data.store.staging import staging_directory

_BLOCK_BYTES = 1 << 25


def _is_in_order(store: ExpressionStore) -> bool:
    """Return whether contexts, controls and conditions lie together as in a store made in one go."""
    keys = store.obs.select("cell_iname", ~pl.col("is_control"), "condition_id")
    return bool(keys.equals(keys.sort("cell_iname", "is_control", "condition_id", maintain_order=True)))


def compact_store(
    path: Path | str,
    *,
    codec: Codec | None = None,
    shard_rows: int = SHARD_ROWS,
    progress: ProgressCallback = no_progress,
    memory_budget_bytes: int = 1 << 28,
) -> ExpressionStore:
    """Write the store at `path` anew, its rows sorted as `create_store` sorts them, and open it.

    A store in order stays as it is, and so do its splits; else the values and tables stay, row
    numbers and the content hash change, and splits made before belong to the old order and are refused. The
    old store stays whole until the new one takes its place.

    Parameters
    ----------
    path
        A store.
    codec
        Another packing of the values; the store's own where None.
    shard_rows
        Rows of a shard.
    memory_budget_bytes
        As for `create_store`.
    """
    target = Path(path)
    store = ExpressionStore.open(target)
    info = store.info
    if codec in (None, info.codec) and _is_in_order(store):
        return store
    order = storage_order(store.obs, info.seed)
    with staging_directory(target, replace=True) as staged:
        rows = collect_rows(
            _blocks(store),
            destination=inverse_permutation(order),
            n_genes=store.n_genes,
            layout=info.layout,
            normalisation=info.normalisation,
            collector=RunCollector(staged / RUN_FOLDER, memory_budget_bytes // 2),
            progress=progress,
        )
        plan = MatrixPlan.fit(
            info.layout,
            codec or info.codec,
            (info.n_rows, info.n_genes),
            rows.n_values,
            rows.value_type,
            (info.chunk_rows, shard_rows),
        )
        records = write_matrix(staged, plan, rows.runs, written_share(progress, rows.n_rows))
        facts = store_facts(
            plan,
            measure=info.measure,
            normalisation=info.normalisation,
            seed=info.seed,
            sources=info.sources,
            preprocessing=info.preprocessing,
        )
        finish_store(staged, facts, records, store.obs[order], store.var)
    return ExpressionStore.open(target)


def _blocks(store: ExpressionStore) -> Iterator[Any]:
    """Yield all rows as they are stored, in order, about 32 MiB at a time."""
    reader = store.reader("disk")
    per_row = 4 * store.n_genes if store.info.layout == "dense" else 6 * store.info.n_values // store.n_rows
    step = max(store.info.chunk_rows, _BLOCK_BYTES // max(per_row, 1))
    for start in range(0, store.n_rows, step):
        yield reader.raw(np.arange(start, min(start + step, store.n_rows)))
