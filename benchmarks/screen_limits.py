"""The steps of a screen beside their bare limits: products, sort, gathers, disk. CPU seconds of one process.

Written and read bytes wait for the disk, so those steps are timed by the clock, bare limit beside step.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import torch
from matrix_products import BATCH_SIZE, bare_rate
from numpy.typing import NDArray
from pertcast.analysis.enrichment import SizeMatchedNull, enrichment_scores, ranked_order
from pertcast.analysis.hits import condition_statistics
from pertcast.analysis.neighbors import neighbor_blocks, write_neighbors
from pertcast.screens.profile_read import ProfileRead
from pertcast.torch_threads import torch_threads
from pertcast_jobs.screen.conditions import IDENTITY_SCHEMA
from pertcast_jobs.screen.finishing.enrichment import ScoreTables, rows_of
from pertcast_jobs.screen.prepare import PreparedScreen
from pertcast_jobs.screen.profiles import create_profiles, write_profiles
from pertcast_jobs.screen.shards import ShardEngine
from pertcast_jobs.screen.summaries import Summaries, set_columns
from pertcast_jobs.screen.workspace import Workspace, write_blocks
from timing import cpu_seconds

_TILE: Final = 1024
_COMPARED: Final = 4096


@dataclass(frozen=True, slots=True)
class Limit:
    """One step: profiles a second, what it is held against, and its rate; None where nothing is."""

    step: str
    rate: float
    against: str = ""
    bare: float | None = None


def limits_of(prepared: PreparedScreen, folder: Path) -> Iterator[Limit]:
    """Compute the first shards of a screen in a scratch folder; time each step of one, and of their tables.

    Parameters
    ----------
    prepared
        The screen, with gene sets.
    folder
        Empty scratch folder.
    """
    rows = min(_COMPARED, prepared.plan.n_profiles) // _TILE * _TILE or prepared.plan.n_profiles
    first = prepared.plan.conditions.head(rows).select(list(IDENTITY_SCHEMA))
    workspace = Workspace(folder / "screen")
    workspace.begin_with(prepared.plan, prepared.predictor.genes, iter([first]))
    create_profiles(workspace, prepared.plan, prepared.predictor.genes, prepared.layers)
    with torch_threads(1):
        yield from _of_a_shard(prepared, workspace, first.head(_TILE))
        yield from _of_the_tables(prepared, workspace, first)


def _of_a_shard(prepared: PreparedScreen, workspace: Workspace, table: pl.DataFrame) -> Iterator[Limit]:
    predictor, sets, count = prepared.predictor, prepared.sets, table.height
    assert sets is not None
    found = predictor.predict(table, batch_size=BATCH_SIZE)
    products, _, _ = bare_rate(predictor, table)
    seconds = cpu_seconds(lambda: predictor.predict(table, batch_size=BATCH_SIZE))
    yield Limit("prediction", count / seconds, "its matrix products", products)
    order = ranked_order(found.mean)
    sort = count / cpu_seconds(lambda: np.argsort(found.mean, axis=1))
    yield Limit("ranking", count / cpu_seconds(lambda: ranked_order(found.mean)), "argsort", sort)
    seconds = cpu_seconds(lambda: condition_statistics(found.mean, found.sd, predictor.genes))
    yield Limit("effect sizes, top genes", count / seconds)
    scores = enrichment_scores(found.mean, sets, order=order)
    seconds = cpu_seconds(lambda: enrichment_scores(found.mean, sets, order=order))
    yield Limit("enrichment scores", count / seconds, "argsort", sort)
    null = SizeMatchedNull.of(sets, 0)
    seconds = cpu_seconds(lambda: null.normalise(found.mean, scores, order=order))
    yield Limit("size-matched null", count / seconds, "its gathers, once", _gathers(null, found.mean))
    summaries = Summaries(
        predictor, prepared.plan.settings, sets, prepared.signature, model_id=prepared.model_id
    )
    yield Limit(
        "all that is said of a profile", count / cpu_seconds(lambda: summaries.of(table, found, order))
    )
    columns = set_columns(found.mean, order, sets, null)
    assert len(columns[0]) == count
    layers = {"X": found.mean, **dict.fromkeys(prepared.layers, found.mean)}
    seconds = _wall(lambda: list(write_profiles(workspace, 0, layers, order)))
    arrays = [found.mean.astype(np.float16)] * len(layers) + [order.astype(np.uint16)]
    plain = count / _wall(lambda: _save(workspace.parts, arrays))
    yield Limit("writing a shard", count / seconds, "np.save + fsync", plain)
    engine = ShardEngine(prepared.task(workspace.path), predictor)
    yield Limit("a whole shard", count / cpu_seconds(lambda: engine.run(0)))


def _of_the_tables(prepared: PreparedScreen, workspace: Workspace, table: pl.DataFrame) -> Iterator[Limit]:
    sets, count, parts = prepared.sets, table.height, workspace.parts
    assert sets is not None
    engine = ShardEngine(prepared.task(workspace.path), prepared.predictor)
    shards = range(-(-count // prepared.plan.settings.shard_rows))
    for shard in shards:
        engine.run(shard)
    paths = [workspace.path / workspace.statistics_of(shard) for shard in shards]
    tables = ScoreTables(paths, count, parts)
    empty = pl.DataFrame(schema={"row": pl.Int64, "term": pl.String, **_PRERANKED})
    target = parts / "table.parquet"
    seconds = cpu_seconds(lambda: write_blocks(target, tables.blocks(sets, empty)), 1)
    written = list(tables.blocks(sets, empty))
    yield Limit("enrichment table", count / seconds, "its parquet", count / _parquet(target, written))
    yield Limit("of it, rows of a shard", _made(paths[0], prepared, tables, empty))
    read = ProfileRead(workspace.profiles)
    yield from _neighbours(table, read, count, target)
    every = np.arange(count)
    plain_file = parts / "plain.bin"
    plain_file.write_bytes(read.exact(every).tobytes())
    bare = count / _wall(lambda: np.fromfile(plain_file, np.float16).astype(np.float32))
    yield Limit("reading back", count / _wall(lambda: read(every)), "np.fromfile, float32", bare)


def _neighbours(table: pl.DataFrame, read: ProfileRead, count: int, target: Path) -> Iterator[Limit]:
    one, every = np.zeros(count, dtype=np.int64), np.arange(count)
    found = list(neighbor_blocks(one, every, read))
    seconds = cpu_seconds(lambda: sum(1 for _ in neighbor_blocks(one, every, read)), 1)
    yield Limit(f"neighbours among {count:,}", count / seconds, "all products", _products(read, count))
    seconds = cpu_seconds(
        lambda: write_neighbors(target, found, lambda rows: table["sig_id"].gather(rows.tolist())), 1
    )
    columns = [pl.read_parquet(target)]
    yield Limit("neighbours table", count / seconds, "its parquet", count / _parquet(target, columns))


_PRERANKED: Final = {
    "prerank_nes": pl.Float64,
    "prerank_pval": pl.Float64,
    "prerank_fdr": pl.Float64,
    "lead_genes": pl.String,
}


def _made(path: Path, prepared: PreparedScreen, tables: ScoreTables, empty: pl.DataFrame) -> float:
    """Return profiles a second that become rows of the enrichment table in memory."""
    sets = prepared.sets
    assert sets is not None
    centre, shard = tables.centre(len(sets)), pl.read_parquet(path)
    return shard.height / cpu_seconds(lambda: rows_of(shard, 0, sets, centre, empty))


def _gathers(null: SizeMatchedNull, profiles: NDArray[np.float32]) -> float:
    """Return profiles a second of reading the weights of all members of all random sets once."""
    block = np.ascontiguousarray(profiles[:64].T)
    step = np.empty((null.draws[0].places.shape[1], block.shape[1]), dtype=np.float32)

    def gather() -> None:
        for draws in null.draws:
            for place in draws.places:
                block.take(place, axis=0, out=step, mode="clip")

    return block.shape[1] / cpu_seconds(gather)


def _products(read: ProfileRead, count: int) -> float:
    """Return profiles a second of multiplying all tiles by all tiles."""
    whole = torch.from_numpy(read(np.arange(count)))
    tiles = [whole[start : start + _TILE] for start in range(0, count, _TILE)]
    return count / cpu_seconds(lambda: [torch.mm(one, other.T) for one in tiles for other in tiles], 1)


def _parquet(path: Path, frames: list[pl.DataFrame]) -> float:
    """Return CPU seconds of writing columns that are there already, plainly, with zstd."""
    arrow = [frame.to_arrow() for frame in frames]

    def write() -> None:
        with pq.ParquetWriter(path, arrow[0].schema, compression="zstd") as writer:
            for table in arrow:
                writer.write_table(table)

    return cpu_seconds(write, 1)


def _save(folder: Path, arrays: list[NDArray[Any]]) -> None:
    for number, array in enumerate(arrays):
        with (folder / f"{number}.npy").open("wb") as file:
            np.save(file, array)
            file.flush()
            os.fsync(file.fileno())


def _wall(work: Callable[[], object], rounds: int = 5) -> float:
    """Best wall seconds over some rounds: what waits for the disk takes no processor."""
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
