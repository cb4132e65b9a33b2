"""Drug-target matching beside its bare limit, the matrix product, and beside the loop that one would write.

Random drugs and a random library on disk (the store's layout): everything that `match_drug_targets` does
with a score (reading, mean profiles, scores, three types combined, best genes, ranks of known targets), in
CPU seconds on one thread. The loop is pandas and scipy, a drug at a time, on a small sample. Usage:
`OMP_NUM_THREADS=1 python benchmarks/bench_targets.py [--drugs 2000] [--genes 26945] [--measured 978]`
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray
from pertcast.analysis.connectivity import get_score
from pertcast.analysis.drug_targets import GeneLibrary
from pertcast.analysis.drug_targets.drugs import DrugProfiles, plan_queries
from pertcast.analysis.drug_targets.known import Pairs
from pertcast.analysis.drug_targets.ranking import Matcher, Ranked, rank_genes, score_pairs
from pertcast_data.store.zarr_layout import create_dense_group, open_array, write_dense_shard
from pertcast_jobs.targets.profiles import RunReader
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

TYPES = ("trt_oe", "trt_sh", "trt_xpr")
SHARD_ROWS, TARGETS_A_DRUG, KEEP, ROUNDS = 8192, 3, 50, 1
TARGET_SHARE = 0.054
"""Share of the genes that are a target of some drug: 1,445 of 26,945 in the catalog's table."""
SLOW = {"wtcs": 20, "xsum": 200}
"""Score -> drugs of its sample; times ten the genes."""


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process: a busy machine hardly changes them."""
    started = time.process_time()
    work()
    return time.process_time() - started


def write_library(folder: Path, n_genes: int, n_measured: int, rng: np.random.Generator) -> GeneLibrary:
    """Write a library of every gene x three types, one cell line, and open it."""
    n_rows = n_genes * len(TYPES)
    create_dense_group(folder, n_rows, n_measured, shard_rows=SHARD_ROWS)
    for shard, start in enumerate(range(0, n_rows, SHARD_ROWS)):
        size = (min(SHARD_ROWS, n_rows - start), n_measured)
        write_dense_shard(folder, shard, rng.standard_normal(size, dtype=np.float32))
    rows = pl.DataFrame(
        {
            "row": np.arange(n_rows),
            "gene": [f"G{number:05d}" for number in range(n_genes)] * len(TYPES),
            "pert_type": np.repeat(TYPES, n_genes).tolist(),
            "cell_iname": ["A549"] * n_rows,
        }
    )
    return GeneLibrary(rows, tuple(f"M{number}" for number in range(n_measured)), RunReader(folder))


def whole_match(library: GeneLibrary, drugs: DrugProfiles, score: str, seed: int = 0) -> Ranked:
    """Do everything that stands between profiles and the ranks of known targets."""
    rng = np.random.default_rng(seed)
    plan = plan_queries(drugs, library.lines)
    matcher = Matcher.of(get_score(score), drugs.centred(), library, plan, library.means())
    n_genes = len(library.perturbed)
    query = np.repeat(np.arange(drugs.table.height), TARGETS_A_DRUG)
    popular = rng.choice(n_genes, max(round(TARGET_SHARE * n_genes), TARGETS_A_DRUG), replace=False)
    pairs = Pairs(query, rng.choice(popular, len(query)))
    sample = np.sort(rng.choice(n_genes, size=min(1000, n_genes), replace=False)).astype(np.int64)
    return rank_genes(matcher, pairs, score_pairs(matcher, pairs), keep=KEEP, sample=sample)


def bare_product(library: GeneLibrary, drugs: DrugProfiles, block_rows: int = 2048) -> None:
    """Multiply the same matrices from memory, a block at a time, and keep nothing."""
    block = np.random.default_rng(0).standard_normal((block_rows, len(library.genes)), dtype=np.float32)
    for start in range(0, library.rows.height, block_rows):
        size = min(block_rows, library.rows.height - start)
        drugs.profiles @ block[:size].T


def plain_loop(library: GeneLibrary, profiles: NDArray[np.float32], n_rows: int) -> None:
    """Rank genes as one would in a notebook: cdist and a sorted table a drug and type, in memory."""
    rows = library.rows.head(n_rows)
    frame = pd.DataFrame(library.read(rows["row"].to_numpy().astype(np.int64)))
    frame["gene"], frame["pert_type"] = rows["gene"].to_list(), rows["pert_type"].to_list()
    for profile in profiles:
        for pert_type, part in frame.groupby("pert_type"):
            values = part.drop(columns=["gene", "pert_type"]).to_numpy()
            cosine = 1 - cdist(profile[None, :], values, "cosine")[0]
            table = pd.DataFrame(
                {"gene": part["gene"], "score": cosine * (-1 if pert_type == "trt_oe" else 1)}
            )
            table["rank"] = rankdata(-table["score"])
            table.sort_values("rank").head(KEEP)


def show(what: str, pairs: int, seconds: float, ratio: float | None = None) -> float:
    """Print a rate in millions of profile pairs a second, and its ratio to what it is measured against."""
    rate = pairs / seconds / 1e6
    print(f"  {what:<52} {seconds:9.2f} s {rate:12,.2f} M pairs/s" + (f"   x {ratio:,.2f}" if ratio else ""))
    return rate


def main() -> None:
    """Measure cosine at full size, the other scores and the plain loop on samples."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drugs", type=int, default=2000)
    parser.add_argument("--genes", type=int, default=26_945)
    parser.add_argument("--measured", type=int, default=978)
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    profiles = rng.standard_normal((asked.drugs, asked.measured), dtype=np.float32)
    table = pl.DataFrame(
        {"drug": [f"D{number:05d}" for number in range(asked.drugs)], "cell_iname": "A549", "n_conditions": 1}
    )
    drugs = DrugProfiles(table, profiles)
    with tempfile.TemporaryDirectory(prefix="pertcast-bench-targets-") as folder:
        library = write_library(Path(folder) / "z", asked.genes, asked.measured, rng)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        n_pairs = asked.drugs * library.rows.height
        print(
            f"{asked.drugs:,} drugs x {library.rows.height:,} profiles x {asked.measured:,} genes, one thread"
        )
        bare = min(cpu_seconds(lambda: bare_product(library, drugs)) for _ in range(ROUNDS))
        ours = min(cpu_seconds(lambda: whole_match(library, drugs, "cosine")) for _ in range(ROUNDS))
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        show("bare matrix product, nothing kept", n_pairs, bare)
        rate = show("cosine, all that a match does (share of the bare rate)", n_pairs, ours, bare / ours)
        stored = open_array(Path(folder) / "z", "X", "r").nbytes
        print(f"  memory grows by {(after - before) / 1024:,.0f} MB; the library has {stored / 1e6:,.0f} MB")
        few = min(asked.drugs, 8)
        n_rows = min(library.rows.height, 6000)
        loop = show(
            "pandas and scipy, 8 drugs x 6,000 profiles", few * n_rows,
            cpu_seconds(lambda: plain_loop(library, profiles[:few], n_rows)),
        )  # fmt: skip
        print(f"  cosine is {rate / loop:,.0f} times as fast as the loop")
        for score, count in SLOW.items():
            part = DrugProfiles(table.head(count), profiles[:count])
            genes = library.perturbed[: 10 * count]
            small = GeneLibrary(library.rows.filter(pl.col("gene").is_in(genes)), library.genes, library.read)
            seconds = cpu_seconds(lambda small=small, part=part, score=score: whole_match(small, part, score))
            show(
                f"{score}, {part.table.height} drugs x {small.rows.height:,} profiles",
                part.table.height * small.rows.height,
                seconds,
            )


if __name__ == "__main__":
    main()
