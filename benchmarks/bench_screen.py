"""A screen's steps beside their bare limits: prediction, enrichment, writing.

Each ratio is of two timings of one run on one thread: predicted tables against the bare model, enrichment
against the bare sort and against gseapy's prerank, shard writing against np.save with fsync. Usage:
`python benchmarks/bench_screen.py [--profiles 26945] [--genes 978] [--sets 49]`
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pertcast.analysis.enrichment import enrichment_scores, prerank
from pertcast.analysis.gene_sets import GeneSets, SetIndex, index_sets
from pertcast.analysis.hits import condition_statistics
from pertcast.encoding import BasalProfiles, ConditionEncoder
from pertcast.models.registry import get_model
from pertcast.predictor import Predictor
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, simulate_atlas, write_atlas
from pertcast_data.store import ExpressionStore
from pertcast_data.store.zarr_layout import create_dense_group, write_dense_shard
from timing import cpu_seconds, wall_seconds

SHARD_ROWS, BATCH_SIZE, ROUNDS = 1024, 256, 3
PRERANKED, PERMUTATIONS = 6, 1000


def show(what: str, rate: float, ratio: float | None = None) -> None:
    """Print a rate in profiles a second, and its ratio to what it is measured against."""
    against = "" if ratio is None else f"   ratio {ratio:10,.2f}"
    print(f"  {what:<36} {rate:14,.1f} profiles/s{against}")


def hallmark_like(n_genes: int, n_sets: int, rng: np.random.Generator) -> SetIndex:
    """Draw sets with the sizes that hallmark sets have on landmark genes: 5 to 60, a third of them small."""
    sizes = np.clip(rng.lognormal(3.3, 0.6, n_sets), 5, 60).astype(int)
    members = {
        f"S{i}": tuple(f"G{g}" for g in rng.choice(n_genes, k, replace=False)) for i, k in enumerate(sizes)
    }
    return index_sets(GeneSets(members), tuple(f"G{g}" for g in range(n_genes)))


def bench_enrichment(profiles: NDArray[np.float32], sets: SetIndex) -> None:
    """Print the rate of exact scores beside the bare sort and beside gseapy, and their agreement."""
    genes = tuple(f"G{g}" for g in range(profiles.shape[1]))
    scores: list[NDArray[np.float64]] = []
    ours = len(profiles) / cpu_seconds(lambda: scores.append(enrichment_scores(profiles, sets)), 1)
    part = profiles[:4096]
    sort = len(part) / cpu_seconds(lambda: np.argsort(part, axis=1))
    few = profiles[:PRERANKED].astype(np.float64)
    expected: list[pl.DataFrame] = []
    seconds = cpu_seconds(lambda: expected.extend(prerank(row, genes, sets, PERMUTATIONS) for row in few), 1)
    theirs = PRERANKED / seconds
    error = max(
        np.abs(table["es"].to_numpy() - enrichment_scores(row[None, :], sets)[0]).max()
        for table, row in zip(expected, few, strict=True)
    )
    print(f"enrichment: {len(profiles):,} profiles x {profiles.shape[1]:,} genes x {len(sets)} sets")
    show(f"exact scores ({len(profiles) / ours:.1f} s in all)", ours)
    show("bare argsort", sort, ours / sort)
    show(f"gseapy prerank, {PERMUTATIONS} permutations", theirs, ours / theirs)
    print(f"  largest difference to gseapy's ES on float64: {error:.1e}")


def make_predictor(folder: Path, n_genes: int) -> Predictor:
    """Make an untrained response_mlp over a simulated store: its speed is a trained one's."""
    config = AtlasConfig(
        n_genes=n_genes,
        n_contexts=3,
        n_compounds=60,
        n_unprofiled=4,
        doses=(1.0, 10.0),
        times=(24.0,),
        n_cells=100,
    )
    files = write_atlas(simulate_atlas(config), folder / "atlas")
    ingest([files.wells], folder / "store")
    store = ExpressionStore.open(folder / "store")
    encoder = ConditionEncoder.fit(store, np.flatnonzero(~store.is_control))
    torch.manual_seed(0)
    model = get_model("response_mlp").build({}, encoder.space, encoder.training_conditions)
    return Predictor(model, encoder, BasalProfiles.fit(store, None))


def bench_prediction(predictor: Predictor, n_profiles: int) -> None:
    """Print the rate of predicted tables and of their summaries beside the bare model."""
    rows = min(n_profiles, 4096)
    trained = predictor.space.perturbations
    table = pl.DataFrame(
        {
            "cell_iname": [predictor.space.contexts[i % len(predictor.space.contexts)] for i in range(rows)],
            "pert_type": "trt_cp",
            "pert_id": [trained[i % len(trained)] for i in range(rows)],
            "pert_dose": [10 ** (i % 7 / 3 - 1) for i in range(rows)],
            "pert_time": 24.0,
        }
    )
    conditions = predictor.encoder.encode(table)
    basal = predictor.basal.lookup(table)
    found = predictor.predict(table, batch_size=BATCH_SIZE)
    bare = rows / cpu_seconds(lambda: predictor.predict_encoded(conditions, basal, batch_size=BATCH_SIZE))
    whole = rows / cpu_seconds(lambda: predictor.predict(table, batch_size=BATCH_SIZE))
    summary = rows / cpu_seconds(lambda: condition_statistics(found.mean, found.sd, predictor.genes))
    print(f"prediction: response_mlp, {rows:,} conditions x {predictor.space.n_genes:,} genes, one thread")
    show("bare model", bare)
    show("table to profiles and flags", whole, whole / bare)
    show("effect sizes and top genes", summary, summary / bare)


def bench_writing(folder: Path, profiles: NDArray[np.float32]) -> None:
    """Print the rate of shard writing beside np.save and fsync of the same bytes."""
    half = profiles.astype(np.float16)
    shards = [half[start : start + SHARD_ROWS] for start in range(0, len(half), SHARD_ROWS)]
    create_dense_group(folder / "z", *half.shape, shard_rows=SHARD_ROWS, dtype=np.float16)

    def plain() -> None:
        for number, shard in enumerate(shards):
            with (folder / f"{number}.npy").open("wb") as file:
                np.save(file, shard)
                file.flush()
                os.fsync(file.fileno())

    ours = wall_seconds(
        lambda: [write_dense_shard(folder / "z", number, shard) for number, shard in enumerate(shards)]
    )
    bare = wall_seconds(plain)
    print(f"writing: {half.nbytes / 1e6:,.0f} MB as float16, {len(shards)} shards, synced")
    show("np.save + fsync", len(half) / bare)
    show("shards with checksum + fsync", len(half) / ours, bare / ours)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profiles", type=int, default=26_945)
    parser.add_argument("--genes", type=int, default=978)
    parser.add_argument("--sets", type=int, default=49)
    options = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    profiles = rng.standard_normal((options.profiles, options.genes)).astype(np.float32)
    with tempfile.TemporaryDirectory() as name:
        bench_prediction(make_predictor(Path(name), options.genes), options.profiles)
        bench_enrichment(profiles, hallmark_like(options.genes, options.sets, rng))
        bench_writing(Path(name), profiles)


if __name__ == "__main__":
    main()
