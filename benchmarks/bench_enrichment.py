"""Enrichment of a screen beside its bare limit, the sort, and beside gseapy; p of random sets.

CPU seconds of one thread; every ratio is of two timings of one run, with hallmark-sized sets. Usage:
`python benchmarks/bench_enrichment.py [--profiles 4096] [--sets 49] [--preranked 4] [--calibration 5]`
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable

import gseapy
import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray
from pertcast.analysis.enrichment import SizeMatchedNull, enrichment_scores, prerank, ranked_order
from pertcast.analysis.gene_sets import GeneSets, SetIndex, index_sets
from timing import cpu_seconds

ROUNDS, PERMUTATIONS = 3, 1000
# Genes: smallest, typical and largest hallmark set among them. (Sets of h.all.v7.0 hold 32 to 200 genes.)
SPACES = {978: (5, 23, 60), 12_328: (30, 110, 200)}


def hallmark_like(n_genes: int, n_sets: int, rng: np.random.Generator) -> SetIndex:
    """Draw sets of the sizes that hallmark sets have among so many genes."""
    smallest, typical, largest = SPACES[n_genes]
    sizes = np.clip(rng.lognormal(np.log(typical), 0.6, n_sets), smallest, largest).astype(int)
    genes = tuple(f"G{g}" for g in range(n_genes))
    picks = {f"S{i}": rng.choice(n_genes, size, replace=False) for i, size in enumerate(sizes)}
    return index_sets(GeneSets({name: tuple(genes[g] for g in pick) for name, pick in picks.items()}), genes)


def run_ssgsea(profiles: NDArray[np.float32], sets: SetIndex) -> None:
    genes = [f"G{g}" for g in range(sets.n_genes)]
    tested = {name: [genes[g] for g in sets.members_of(i)] for i, name in enumerate(sets.names)}
    table = pd.DataFrame(profiles.T.astype(np.float64), index=genes)
    table.columns = [f"P{i}" for i in range(len(profiles))]
    gseapy.ssgsea(table, tested, outdir=None, min_size=1, max_size=sets.n_genes, threads=1, no_plot=True)


def show(what: str, seconds: float, n_profiles: int, sort: float) -> None:
    """Print the rate of a step and its time as a multiple of the bare sort's, a profile."""
    each = seconds / n_profiles
    print(f"  {what:<40} {1 / each:12,.1f} profiles/s   {each / sort:10,.2f} x the sort")


def bench(n_genes: int, n_profiles: int, n_sets: int, n_preranked: int) -> None:
    rng = np.random.default_rng(0)
    profiles = rng.standard_normal((n_profiles, n_genes)).astype(np.float32)
    sets = hallmark_like(n_genes, n_sets, rng)
    order, scores = ranked_order(profiles), enrichment_scores(profiles, sets)
    null = SizeMatchedNull.of(sets, 0)

    def whole() -> None:
        found = ranked_order(profiles)
        null.normalise(profiles, enrichment_scores(profiles, sets, order=found), order=found)

    print(f"{n_profiles:,} profiles x {n_genes:,} genes x {len(sets)} sets of {sets.sizes.mean():.0f} genes")
    sort = cpu_seconds(lambda: np.argsort(profiles, axis=1)) / n_profiles
    show("bare np.argsort", sort * n_profiles, n_profiles, sort)
    steps: dict[str, Callable[[], object]] = {
        "order, ties in gene order": lambda: ranked_order(profiles),
        "scores": lambda: enrichment_scores(profiles, sets),
        "scores, order given": lambda: enrichment_scores(profiles, sets, order=order),
        "null: NES, p, FDR, order given": lambda: null.normalise(profiles, scores, order=order),
        "order + scores + null": whole,
    }
    for what, step in steps.items():
        show(what, cpu_seconds(step), n_profiles, sort)
    genes = tuple(f"G{g}" for g in range(n_genes))
    few = profiles[:n_preranked].astype(np.float64)
    tables: list[pl.DataFrame] = []
    seconds = cpu_seconds(lambda: tables.extend(prerank(row, genes, sets, PERMUTATIONS) for row in few), 1)
    show(f"gseapy prerank, {PERMUTATIONS} permutations", seconds, n_preranked, sort)
    ranked = min(n_profiles, 64)
    show("gseapy ssgsea", cpu_seconds(lambda: run_ssgsea(profiles[:ranked], sets), 1), ranked, sort)
    print(
        f"  drawing the random sets, once a screen: {cpu_seconds(lambda: SizeMatchedNull.of(sets, 0)):.2f} s"
    )
    compare(few, sets, null, pl.concat(tables))


def compare(few: NDArray[np.float64], sets: SetIndex, null: SizeMatchedNull, expected: pl.DataFrame) -> None:
    """Print how far results are from gseapy's on the same float64 profiles."""
    scores = enrichment_scores(few, sets)
    found = null.normalise(few, scores)
    es, nes, p = (expected[name].to_numpy().reshape(scores.shape) for name in ("es", "nes", "pval"))
    correlation = np.corrcoef(found.nes.ravel(), nes.ravel())[0, 1]
    slope = np.polyfit(nes.ravel(), found.nes.ravel(), 1)[0]
    print(f"  against gseapy: largest difference of ES {np.abs(scores - es).max():.1e}")
    print(f"  NES: correlation {correlation:.5f}, slope {slope:.3f}")
    print(
        f"  p: mean difference {(found.pval - p).mean():+.3f}, absolute {np.abs(found.pval - p).mean():.3f}"
    )


def drawn_profiles(n_profiles: int, n_genes: int, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """Draw profiles of several shapes: what a null must adapt to."""
    shape = (n_profiles, n_genes)
    few = np.where(rng.random(shape) < 0.2, 1, 0.05)
    drawn = {
        "normal": rng.standard_normal(shape),
        "Student, 3 degrees of freedom": rng.standard_t(3, shape),
        "skewed (exponential)": rng.gamma(1, 1, shape) - 1,
        "a fifth of genes respond": rng.standard_normal(shape) * few,
        "8 % respond, the rest are 0": rng.standard_normal(shape) * (rng.random(shape) < 0.08),
        "normal, mean 0.5": rng.standard_normal(shape) + 0.5,
    }
    return {name: values.astype(np.float32) for name, values in drawn.items()}


def calibration(rounds: int, n_profiles: int = 64, n_sets: int = 300, n_genes: int = 978) -> None:
    """Print the share of random sets with p up to nominal levels, 5 to 60 genes a set."""
    levels = (0.5, 0.2, 0.05, 0.01, 0.001)
    shares: dict[str, list[list[float]]] = {}
    for seed in range(rounds):
        rng = np.random.default_rng(seed)
        sizes = np.exp(rng.uniform(np.log(5), np.log(61), n_sets)).astype(int)
        genes = tuple(f"G{g}" for g in range(n_genes))
        picks = [rng.choice(n_genes, size, replace=False) for size in sizes]
        sets = index_sets(GeneSets({f"S{i}": tuple(genes[g] for g in p) for i, p in enumerate(picks)}), genes)
        null = SizeMatchedNull.of(sets, seed)
        for name, profiles in drawn_profiles(n_profiles, n_genes, rng).items():
            pval = null.normalise(profiles, enrichment_scores(profiles, sets)).pval
            known = pval[np.isfinite(pval)]
            shares.setdefault(name, []).append([float((known <= level).mean()) for level in levels])
    print(
        f"p of random sets: {rounds} draws of {n_sets} sets, {n_profiles} profiles each; share up to a level"
    )
    print(f"  {'':<32}" + "".join(f"{level:>10}" for level in levels))
    shares["all"] = [each for found in shares.values() for each in found]
    for name, found in shares.items():
        print(f"  {name:<32}" + "".join(f"{share:>10.4f}" for share in np.mean(found, axis=0)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profiles", type=int, default=4096, help="an eighth of them at 12,328 genes")
    parser.add_argument("--sets", type=int, default=49)
    parser.add_argument("--preranked", type=int, default=4)
    parser.add_argument("--calibration", type=int, default=5, help="rounds")
    options = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    calibration(options.calibration)
    bench(978, options.profiles, options.sets, options.preranked)
    bench(12_328, max(options.profiles // 8, 1), options.sets + 1, max(options.preranked // 2, 1))


if __name__ == "__main__":
    main()
