"""Dose curves and pair excess of a screen beside their bare limits, on one thread.

Curves a second of the batched fit against scipy's curve_fit on a sample, and pairs a second against one pass
over the same memory; CPU time of this process, so that a busy machine hardly changes the ratios. Usage:
`python benchmarks/bench_screened_doses.py [--curves 71000] [--doses 6] [--genes 978] [--pairs 8192]`
"""

from __future__ import annotations

import argparse
import resource
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast.analysis.dose_response import fit_log_logistic
from pertcast.analysis.hits import condition_statistics
from pertcast.analysis.pair_excess import pair_excess
from pertcast.analysis.screened_doses import fit_log_logistic_curves, stream_screened_doses
from scipy.optimize import curve_fit
from timing import cpu_seconds

SAMPLE, ROUNDS, BLOCK_PAIRS = 200, 3, 1024

Floats = NDArray[np.float64]


def show(what: str, rate: float, unit: str, ratio: float | None = None) -> None:
    """Print a rate, and its ratio to what it is measured against."""
    against = "" if ratio is None else f"   ratio {ratio:10,.3g}"
    print(f"  {what:<46} {rate:14,.0f} {unit}/s{against}")


def saturating(doses: Floats, log_ec50: Any, log_slope: Any, top: Any) -> Any:
    """Return the curve as curve_fit wants it."""
    return top / (1.0 + np.exp(np.exp(log_slope) * (log_ec50 - np.log(doses))))


def drawn_curves(n_curves: int, n_doses: int, random: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Return doses, responses that are nearly log-logistic, and the half-maximal doses."""
    doses = np.geomspace(0.04, 10.0, n_doses)
    log_ec50 = np.log(10.0) * random.uniform(-2.0, 1.3, (n_curves, 1))
    log_slope = np.log(random.uniform(0.5, 3.0, (n_curves, 1)))
    values = saturating(doses, log_ec50, log_slope, random.uniform(0.1, 2.0, (n_curves, 1)))
    return doses, values * random.normal(1.0, 0.02, values.shape), np.exp(log_ec50[:, 0])


def fit_one(doses: Floats, values: Floats) -> float:
    """Return the half-maximal dose of one curve by scipy, from the usual start; NaN where it gives up."""
    start = (np.log(np.sqrt(doses[0] * doses[-1])), 0.0, values[np.abs(values).argmax()])
    low, high = np.log(doses[0] / 100), np.log(doses[-1] * 100)
    bounds = ((low, np.log(0.3), -np.inf), (high, np.log(5.0), np.inf))
    try:
        found = curve_fit(saturating, doses, values, p0=start, bounds=bounds)[0]
    except RuntimeError:
        return float("nan")
    return float(np.exp(found[0]))


def bench_fits(n_curves: int, n_doses: int, random: np.random.Generator) -> None:
    """Print curves a second of the batched fit beside scipy's and the single curve's function."""
    doses, values, _ = drawn_curves(n_curves, n_doses, random)
    repeated = np.tile(doses, (n_curves, 1))
    seconds = cpu_seconds(lambda: fit_log_logistic_curves(repeated, values), 1)
    ours = n_curves / seconds
    sample = values[:SAMPLE]
    scipy_ec50: list[float] = []
    theirs = SAMPLE / cpu_seconds(lambda: scipy_ec50.extend(fit_one(doses, row) for row in sample), 1)
    single = SAMPLE / cpu_seconds(lambda: [fit_log_logistic(doses, row) for row in sample], 1)
    found = fit_log_logistic_curves(repeated[:SAMPLE], sample).ec50
    off = np.abs(np.log10(found / np.array(scipy_ec50)))
    print(f"fits: {n_curves:,} curves of {n_doses} doses, {seconds:.1f} CPU-seconds")
    show("batched fit", ours, "curves")
    show(f"scipy.optimize.curve_fit, {SAMPLE} curves", theirs, "curves", ours / theirs)
    show(f"fit_log_logistic, {SAMPLE} curves", single, "curves", ours / single)
    print(f"  EC50 within 1 % of curve_fit's in {(off < np.log10(1.01)).mean():.1%} of the sample")


def bench_stream(n_curves: int, n_doses: int, n_genes: int, random: np.random.Generator) -> None:
    """Print curves a second of the stream (projection, fit, frames) beside reading its rows alone."""
    doses, values, _ = drawn_curves(n_curves, n_doses, random)
    directions = random.normal(size=(64, n_genes)).astype(np.float32)
    codes = np.repeat(np.arange(n_curves), n_doses)
    flat = values.reshape(-1).astype(np.float32)

    def read(rows: NDArray[np.int64]) -> NDArray[np.float16]:
        return (flat[rows, None] * directions[codes[rows] % len(directions)]).astype(np.float16)

    every = np.tile(doses, n_curves)
    blocks = np.array_split(np.arange(len(codes)), max(1, len(codes) // 2048))
    bare = cpu_seconds(lambda: [read(rows) for rows in blocks], 1)
    frames: list[pl.DataFrame] = []
    whole = cpu_seconds(lambda: frames.extend(stream_screened_doses(codes, every, read)), 1)
    print(
        f"stream: {n_curves:,} curves x {n_doses} doses x {n_genes:,} genes, {whole:.1f} CPU-seconds in all"
    )
    show("projection, fits and frames", n_curves / (whole - bare), "curves")
    counts = pl.concat(frames)["state"].value_counts(sort=True)
    print("  " + ", ".join(f"{state} {count:,}" for state, count in counts.iter_rows()))


def bench_pairs(n_pairs: int, n_genes: int, random: np.random.Generator) -> None:
    """Print pairs a second beside one pass over memory and beside the summary of single profiles."""
    first, second, new = (random.normal(size=(n_pairs, n_genes)).astype(np.float32) for _ in range(3))
    pair = 1.2 * first + 0.5 * second + 0.3 * new
    genes = [f"G{gene}" for gene in range(n_genes)]
    parts = [slice(start, start + BLOCK_PAIRS) for start in range(0, n_pairs, BLOCK_PAIRS)]
    ours = n_pairs / cpu_seconds(lambda: [pair_excess(pair[p], first[p], second[p], genes) for p in parts])
    unnamed = n_pairs / cpu_seconds(
        lambda: [pair_excess(pair[p], first[p], second[p], genes, n_top=0) for p in parts]
    )
    bare = n_pairs / cpu_seconds(
        lambda: [np.square(pair[p] - (first[p] + second[p])).sum(axis=1) for p in parts]
    )
    single = n_pairs / cpu_seconds(lambda: [condition_statistics(pair[p], None, genes) for p in parts])
    print(f"pairs: {n_pairs:,} pairs x {n_genes:,} genes")
    show("excess, coefficients, kinds, genes", ours, "pairs")
    show("the same without naming genes", unnamed, "pairs", ours / unnamed)
    show("bare pass: length of pair - first - second", bare, "pairs", ours / bare)
    show("effect sizes and top genes of the pairs alone", single, "pairs", ours / single)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--curves", type=int, default=71_000)
    parser.add_argument("--doses", type=int, default=6)
    parser.add_argument("--genes", type=int, default=978)
    parser.add_argument("--pairs", type=int, default=8_192)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    bench_fits(options.curves, options.doses, random)
    bench_pairs(options.pairs, options.genes, random)
    bench_stream(options.curves, options.doses, options.genes, random)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:,.0f} MB")


if __name__ == "__main__":
    main()
