"""Rows a second of the loader: block-shuffled batches from memory and from disk, against plain arrays.

Shares are measured side by side in one run, the best of several rounds. Usage:
`python benchmarks/bench_loader.py [--rows 200000] [--rounds 5]`
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import polars as pl
import scipy.sparse as sparse
import torch
from anndata.experimental import AnnLoader
from numpy.typing import NDArray
from pertcast_data.loading import BatchPlan
from pertcast_data.store import ExpressionStore, create_store

DENSE_GENES, SPARSE_GENES, DENSITY = 978, 5_000, 0.133
SPARSE_SHARE = 8
"""The sparse data set has this many times fewer rows."""
BARS = {"memory": 0.8, "disk": 0.3}
SECONDS = 2.0


@dataclass
class Rate:
    """Rows by wall clock and by CPU second."""

    wall: float = 0.0
    cpu: float = 0.0


def dense_rows(n_rows: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(8, 2, (n_rows, DENSE_GENES)).astype(np.float32)


def sparse_rows(n_rows: int) -> sparse.csr_matrix:
    rng = np.random.default_rng(0)
    parts = []
    for start in range(0, n_rows, 4_096):
        mask = rng.random((min(4_096, n_rows - start), SPARSE_GENES), dtype=np.float32) < DENSITY
        part = sparse.csr_matrix(mask, dtype=np.float32)
        part.data = rng.geometric(0.4, part.nnz).astype(np.float32)
        parts.append(part)
    return sparse.vstack(parts, format="csr")


def build(path: Path, matrix: Any, codec: str) -> ExpressionStore:
    n_rows = matrix.shape[0]
    return create_store(
        path,
        obs=pl.DataFrame({"pert_id": [f"{row // 16:06}" for row in range(n_rows)]}),
        var=pl.DataFrame({"gene_symbol": [f"g{number}" for number in range(matrix.shape[1])]}),
        batches=(matrix[start : start + 8_192] for start in range(0, n_rows, 8_192)),
        measure="expression",
        # Normalisation is left out: a plain array has none either.
        normalisation="log1p_cpm",
        codec=codec,  # type: ignore[arg-type]
    )


def drain(epochs: Callable[[int], Iterator[Any]], seconds: float) -> Rate:
    """Draw batches of one epoch after another for a while."""
    rows, wall, cpu = 0, time.perf_counter(), time.process_time()
    for batch in chain.from_iterable(map(epochs, count())):
        rows += len(batch)
        if time.perf_counter() - wall > seconds:
            break
    return Rate(rows / (time.perf_counter() - wall), rows / (time.process_time() - cpu))


def ann_loader(store: ExpressionStore, batch_size: int) -> AnnLoader:
    """Return anndata's loader over the same rows, held in memory."""
    data = anndata.read_zarr(store.path)
    if sparse.issparse(data.X):
        # anndata keeps the stored 16-bit indices, which its own loader cannot slice.
        data.X = sparse.csr_matrix(
            (data.X.data.astype(np.float32), data.X.indices.astype(np.int32), data.X.indptr)
        )
    del data.obs
    return AnnLoader(data, batch_size=batch_size, shuffle=True)


def measure(store: ExpressionStore, plain: Any, batch_size: int, rounds: int) -> dict[str, Rate]:
    """Return the best rate of each way to the same batches; `plain` holds the rows in memory."""
    plan = BatchPlan(np.arange(store.n_rows), batch_size)
    memory, disk, loader = store.reader("memory"), store.reader("disk"), ann_loader(store, batch_size)
    take: Callable[[Any], Any] = (
        (lambda rows: plain[rows].toarray()) if sparse.issparse(plain) else plain.__getitem__
    )
    ways: dict[str, Callable[[int], Iterator[Any]]] = {
        "plain": lambda epoch: (take(rows) for rows in plan.batches(epoch)),
        "memory": lambda epoch: (memory.dense(rows) for rows in plan.batches(epoch)),
        "disk": lambda epoch: (disk.dense(rows) for rows in plan.batches(epoch, announce=disk.announce)),
        "AnnLoader": lambda epoch: (batch.X for batch in loader),
    }
    best = {name: Rate() for name in ways}
    for _ in range(rounds):
        for name, epochs in ways.items():
            rate = drain(epochs, SECONDS)
            best[name] = Rate(max(best[name].wall, rate.wall), max(best[name].cpu, rate.cpu))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print figures as JSON only")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    results: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, codecs in (("dense", ("none", "train")), ("csr", ("train", "none"))):
            matrix = (
                dense_rows(options.rows) if kind == "dense" else sparse_rows(options.rows // SPARSE_SHARE)
            )
            for codec in codecs:
                store = build(Path(folder) / f"{kind}-{codec}", matrix, codec)
                rates = measure(store, matrix, options.batch_size, options.rounds)
                results[f"{kind} {codec}"] = {name: vars(rate) for name, rate in rates.items()}
    if options.json:
        print(json.dumps(results))
        return
    print(
        f"batches of {options.batch_size}; {options.rows} dense rows x {DENSE_GENES}, "
        f"{options.rows // SPARSE_SHARE} sparse rows x {SPARSE_GENES} at {DENSITY:.1%}, dense out"
    )
    for name, rates in results.items():
        for way, rate in rates.items():
            shares = [rate[clock] / rates["plain"][clock] for clock in ("wall", "cpu")]
            bar = f"  (bar {BARS[way]})" if way in BARS else ""
            print(
                f"{name:12s} {way:10s} {rate['wall'] / 1e3:8.1f}k rows/s {rate['cpu'] / 1e3:8.1f}k rows/CPU-s"
                f" share of plain {shares[0]:.2f} wall, {shares[1]:.2f} CPU{bar}"
            )


if __name__ == "__main__":
    main()
