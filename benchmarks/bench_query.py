"""Queries of a library beside their bare limits: the matrix product, and reading the library once.

Random profiles, 80,835 x 978 in three strata, in CPU seconds on one thread; ratios of one run. Usage:
`OMP_NUM_THREADS=1 python benchmarks/bench_query.py [--profiles 80835] [--genes 978] [--set-size 50]`
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import zarr
from numpy.typing import NDArray
from pertcast.analysis.connectivity import ConnectivityIndex, RankedBlock, Signature, ask_library
from pertcast.analysis.connectivity.prepared import PreparedQuery
from pertcast.analysis.connectivity.scores import get_score
from pertcast.analysis.connectivity.significance import ReferenceQueries, random_scores
from pertcast.analysis.connectivity.strata import Strata
from pertcast.analysis.enrichment import gene_ranks
from pertcast.screens.profile_read import ProfileRead
from pertcast_data.store.zarr_layout import (
    create_array,
    create_dense_group,
    open_array,
    write_array_shard,
    write_dense_shard,
)
from timing import cpu_seconds

TYPES = ("trt_oe", "trt_sh", "trt_xpr")
SHARD_ROWS, ROUNDS, BATCH, REPORTED = 4096, 3, 64, 50


def blocks(
    n_profiles: int, n_genes: int
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.unsignedinteger]]]:
    """Yield a random library, one shard at a time."""
    random = np.random.default_rng(0)
    for start in range(0, n_profiles, SHARD_ROWS):
        size = (min(SHARD_ROWS, n_profiles - start), n_genes)
        values = random.standard_normal(size, dtype=np.float32)
        yield values, gene_ranks(values)


def write_library(folder: Path, n_profiles: int, n_genes: int) -> None:
    """Write a library as a screen does: float16 profiles and uint16 ranks."""
    create_dense_group(
        folder / "x", n_profiles, n_genes, dtype=np.float16, chunk_rows=64, shard_rows=SHARD_ROWS
    )
    like = open_array(folder / "x", "X", mode="r")
    group = zarr.create_group(str(folder / "r"), zarr_format=3)
    shape, chunks, shards = like.shape, like.chunks, like.shards or like.chunks
    create_array(group, "rank", shape=shape, chunks=chunks, shards=shards, dtype=np.uint16, codec="none")
    ranks = open_array(folder / "r", "rank")
    for shard, (values, places) in enumerate(blocks(n_profiles, n_genes)):
        write_dense_shard(folder / "x", shard, values.astype(np.float16))
        write_array_shard(folder / "r", ranks, "rank", shard, places)


def streamed(folder: Path, n_profiles: int, n_genes: int) -> ConnectivityIndex:
    """Open the written library, to be read anew for every query."""
    values, ranks = ProfileRead(folder / "x"), ProfileRead(folder / "r", "rank")
    return ConnectivityIndex(
        lambda rows: RankedBlock(values(rows), lambda: ranks.exact(rows)), n_profiles, n_genes
    )


def bare_read(folder: Path, n_profiles: int) -> None:
    """Read profiles and ranks once and keep nothing."""
    for path, name in ((folder / "x", "X"), (folder / "r", "rank")):
        array = open_array(path, name, mode="r")
        for start in range(0, n_profiles, SHARD_ROWS):
            array[start : start + SHARD_ROWS]


def show(what: str, seconds: float, against: float | None = None, limit: str = "") -> None:
    """Print CPU milliseconds, and how many times its limit that is."""
    ratio = "" if against is None else f"  x {seconds / against:8.2f} of {limit}"
    print(f"  {what:<58} {1000 * seconds:10,.1f} ms{ratio}")


def measure_memory_index(
    index: ConnectivityIndex, values: NDArray[np.float32], prepared: dict[str, PreparedQuery]
) -> None:
    """Measure scores over the library in memory, beside the bare product."""
    batch = np.random.default_rng(1).standard_normal((BATCH, values.shape[1]), dtype=np.float32)
    one, many = get_score("cosine").of_profiles(batch[:1]), get_score("cosine").of_profiles(batch)
    bare = cpu_seconds(lambda: values @ batch[0])
    bare_many = cpu_seconds(lambda: batch @ values.T)
    print("library in memory, float32 with ranks")
    show("bare product, 1 query", bare)
    show("cosine, 1 query", cpu_seconds(lambda: index.scores(one)), bare, "the product")
    show(f"bare product, {BATCH} queries", bare_many)
    show(f"cosine, {BATCH} queries", cpu_seconds(lambda: index.scores(many)), bare_many, "the product")
    for score in ("wtcs", "xsum"):
        seconds = cpu_seconds(lambda score=score: index.scores(prepared[score].queries()))
        show(f"{score}, 1 query", seconds, bare, "the product")
    few = np.arange(4000)
    sorting = cpu_seconds(lambda: prepared["wtcs"].queries().against(values[:4000]), 1) * len(values) / 4000
    ranked = cpu_seconds(lambda: index.scores(prepared["wtcs"].queries(), few), 1) * len(values) / 4000
    show("wtcs with profiles sorted again (4,000, scaled)", sorting, ranked, "by ranks")


def measure_table(index: ConnectivityIndex, table: pl.DataFrame, prepared: dict[str, PreparedQuery]) -> None:
    """Measure what stands beside a score: tau, the null of q, and the whole table."""
    rows, strata = np.arange(table.height), Strata.of(table)
    reported, normal = np.linspace(0, table.height - 1, REPORTED).astype(np.int64), np.ones(REPORTED)
    for score in ("wtcs", "cosine"):
        own = prepared[score]
        scored = cpu_seconds(lambda own=own: index.scores(own.queries()), 1)
        references = ReferenceQueries(index, rows, strata, own, 0)
        tau = cpu_seconds(lambda references=references: references.tau(reported, normal), 1)
        null = cpu_seconds(lambda own=own: random_scores(index, rows, strata, own, 0), 1)
        whole = cpu_seconds(lambda own=own: ask_library(index, table, own, library="predicted (bench)"), 1)
        show(f"{score}: tau of {REPORTED} profiles, 500 reference queries", tau, scored, "the scores")
        show(f"{score}: null of q, 1,000 queries x 500 profiles", null, scored, "the scores")
        show(f"{score}: the whole ranked table", whole, scored, "the scores")


def main() -> None:
    """Measure a library in memory and one that is read."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profiles", type=int, default=80_835)
    parser.add_argument("--genes", type=int, default=978)
    parser.add_argument("--set-size", type=int, default=50)
    asked = parser.parse_args()
    n_profiles, n_genes, size = asked.profiles, asked.genes, asked.set_size
    names = [f"G{number}" for number in range(n_genes)]
    drawn = np.random.default_rng(2).permutation(n_genes)[: 2 * size]
    signature = Signature.of_sets([names[g] for g in drawn[:size]], [names[g] for g in drawn[size:]])
    prepared = {score: signature.prepare(names, score)[0] for score in ("wtcs", "xsum", "cosine")}
    strata = {
        "pert_type": np.sort(np.resize(TYPES, n_profiles)).tolist(),
        "cell_iname": ["A549"] * n_profiles,
    }
    table = pl.DataFrame({"sig_id": [f"S{row}" for row in range(n_profiles)], **strata})
    print(f"{n_profiles:,} profiles x {n_genes:,} genes, sets of {size} up and {size} down, one thread")
    with tempfile.TemporaryDirectory(prefix="pertcast-bench-query-") as name:
        folder = Path(name)
        write_library(folder, n_profiles, n_genes)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        on_disk = streamed(folder, n_profiles, n_genes)
        print("library on disk, float16 with uint16 ranks, read anew for each query")
        read = cpu_seconds(lambda: bare_read(folder, n_profiles))
        show("bare read of profiles and ranks", read)
        for score, own in prepared.items():
            seconds = cpu_seconds(lambda own=own: on_disk.scores(own.queries()))
            show(f"{score}, 1 query", seconds, read, "the read")
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"  memory grows by {(after - before) / 1024:,.0f} MB")
    index = ConnectivityIndex.from_blocks(blocks(n_profiles, n_genes), n_profiles, n_genes)
    measure_memory_index(index, index.take(np.arange(n_profiles)).values, prepared)
    measure_table(index, table, prepared)


if __name__ == "__main__":
    main()
