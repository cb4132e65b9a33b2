"""The server's questions about single profiles beside their bare limits: the product, and reading once.

A generated screen of 80,835 x 978 float16 with ranks in three strata; CPU seconds on one thread, ratios of
one run. Usage: `OMP_NUM_THREADS=1 python benchmarks/bench_serve_analysis.py [--profiles 80835] [--genes 978]`
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import zarr
from bench_query import SHARD_ROWS, TYPES, blocks, show
from numpy.typing import NDArray
from pertcast.screens.files import MANIFEST, PROFILES, RANK, RANKS, SIG_INFO
from pertcast_data.store.zarr_layout import (
    create_array,
    create_dense_group,
    open_array,
    write_array_shard,
    write_dense_shard,
)
from pertcast_serve.analysis.service import AnalysisService
from pertcast_serve.config import ServeConfig
from pertcast_serve.schemas.analysis import (
    ConnectivityRequest,
    EnrichmentRequest,
    NeighborsRequest,
    Profile,
    StoredProfile,
)
from pertcast_serve.schemas.base import Problem
from timing import cpu_seconds

SETS, SET_SIZES, LISTED = 50, (5, 53), 50
"""Gene sets as hallmark sets are among landmarks; genes up and genes down of a signature."""


def write_screen(folder: Path, n_profiles: int, n_genes: int) -> None:
    """Write random profiles as a finished screen."""
    genes = [f"G{number}" for number in range(n_genes)]
    size = (n_profiles, n_genes)
    create_dense_group(
        folder / PROFILES,
        *size,
        dtype=np.float16,
        var=pl.DataFrame({"gene_symbol": genes}),
        chunk_rows=64,
        shard_rows=SHARD_ROWS,
    )
    like = open_array(folder / PROFILES, "X", mode="r")
    group = zarr.create_group(str(folder / RANKS), zarr_format=3)
    shards = like.shards or like.chunks
    create_array(group, RANK, shape=size, chunks=like.chunks, shards=shards, dtype=np.uint16, codec="none")
    ranks = open_array(folder / RANKS, RANK)
    for shard, (values, places) in enumerate(blocks(n_profiles, n_genes)):
        write_dense_shard(folder / PROFILES, shard, values.astype(np.float16))
        write_array_shard(folder / RANKS, ranks, RANK, shard, places)
    rows = np.arange(n_profiles)
    table = pl.DataFrame({"sig_id": [f"S{row}" for row in rows], "pert_id": [f"P{row // 3}" for row in rows]})
    kinds = pl.Series(np.sort(np.resize(TYPES, n_profiles)).tolist())
    table.with_columns(pert_type=kinds, cell_iname=pl.lit("A549")).write_parquet(folder / SIG_INFO)
    manifest = {"format": "pertcast-screen", "n_profiles": n_profiles, "bundle": {}}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def bare_read(folder: Path, name: str, array_name: str) -> NDArray[Any]:
    """Read an array of the screen once, a shard at a time."""
    array = open_array(folder / name, array_name, mode="r")
    found = np.empty(array.shape, dtype=array.dtype)
    for start in range(0, array.shape[0], SHARD_ROWS):
        found[start : start + SHARD_ROWS] = array[start : start + SHARD_ROWS]
    return found


def bare_product(values: NDArray[np.float32]) -> float:
    """Return CPU seconds of one query times all profiles (N, G)."""
    query = values[17].copy()
    return cpu_seconds(lambda: values @ query)


def asked(question: Callable[[], Coroutine[Any, Any, Any]]) -> Callable[[], None]:
    """Return what asks once; a problem ends the benchmark."""

    def ask() -> None:
        answer = asyncio.run(question())
        if isinstance(answer, Problem):
            raise SystemExit(answer.detail)

    return ask


def questions(service: AnalysisService, n_genes: int) -> dict[str, Callable[[], None]]:
    """Return the questions about a library by name."""
    drawn = [f"G{gene}" for gene in np.random.default_rng(2).permutation(n_genes)[: 2 * LISTED]]
    stored = StoredProfile(library="bench", sig_id="S17")
    sets = ConnectivityRequest(up=drawn[:LISTED], down=drawn[LISTED:])
    values = ConnectivityRequest(stored=stored)
    within, everywhere = NeighborsRequest(stored=stored), NeighborsRequest(stored=stored, everywhere=True)
    return {
        "connectivity, cosine": asked(lambda: service.connectivity(values)),
        "connectivity, wtcs of 50 up and 50 down": asked(lambda: service.connectivity(sets)),
        "neighbours everywhere": asked(lambda: service.neighbors(everywhere)),
        "neighbours in one of three types": asked(lambda: service.neighbors(within)),
    }


def measure_library(folder: Path, new_service: Callable[[], AnalysisService], n_genes: int) -> None:
    """Measure first and later questions beside reading the library once and one matrix product."""
    read = cpu_seconds(lambda: bare_read(folder, PROFILES, "X"), 1)
    read_ranks = cpu_seconds(lambda: bare_read(folder, RANKS, RANK), 1)
    product = bare_product(bare_read(folder, PROFILES, "X").astype(np.float32))
    show("bare read of profiles", read)
    show("bare read of ranks", read_ranks)
    show("bare product, float32 in memory, 1 query", product)
    service = new_service()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, ask in questions(service, n_genes).items():
        first = cpu_seconds(ask, 1)
        later = cpu_seconds(ask)
        show(f"{name}: first question", first, read + read_ranks, "both reads")
        show(f"{name}: later questions", later, product, "the product")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"  memory grows by {(after - before) / 1024:,.0f} MB over its peak before")


def measure_enrichment(service: AnalysisService, n_genes: int) -> None:
    """Measure the enrichment of one given profile."""
    random = np.random.default_rng(3)
    genes = [f"G{number}" for number in range(n_genes)]
    members = [random.permutation(n_genes)[: random.integers(*SET_SIZES)] for _ in range(SETS)]
    sets = {f"S{number}": [genes[gene] for gene in each] for number, each in enumerate(members)}
    profile = Profile(genes=genes, values=random.standard_normal(n_genes).tolist())
    fast = EnrichmentRequest(profile=profile, sets=sets, curves=["S0"])
    permuted = EnrichmentRequest(profile=profile, sets=sets, method="prerank")
    print(f"enrichment of one profile of {n_genes:,} genes, {SETS} sets")
    first = cpu_seconds(asked(lambda: service.enrichment(fast)), 1)
    later = cpu_seconds(asked(lambda: service.enrichment(fast)))
    slow = cpu_seconds(asked(lambda: service.enrichment(permuted)), 1)
    show("size_matched, later questions", later)
    show("size_matched, first question: random sets are drawn", first, later, "later ones")
    show("prerank, 1,000 permutations", slow, later, "size_matched")


def main() -> None:
    """Measure a library that fits in memory, and enrichment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profiles", type=int, default=80_835)
    parser.add_argument("--genes", type=int, default=978)
    given = parser.parse_args()
    print(f"{given.profiles:,} profiles x {given.genes:,} genes, one thread, CPU time")
    with tempfile.TemporaryDirectory(prefix="pertcast-bench-serve-") as name:
        folder = Path(name)
        write_screen(folder, given.profiles, given.genes)
        config = ServeConfig(models={"none": folder}, libraries={"bench": folder})

        def new_service() -> AnalysisService:
            # No question here is about a condition, so that no predictor is called.
            return AnalysisService(config, None)  # type: ignore[arg-type]

        measure_library(folder, new_service, given.genes)
        measure_enrichment(new_service(), given.genes)


if __name__ == "__main__":
    main()
