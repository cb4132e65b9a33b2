"""The search of neighbours beside its bare matrix products, and its memory by the size of the screen.

CPU seconds of one thread. Bare: every tile of 1,024 unit profiles times every tile, in float32, nothing
kept. Memory: peak of a process that only searches, reading float16 profiles from a file and writing the
table, at a tenth of the profiles, at all of them and at three strata of as many. Usage:
`python benchmarks/bench_neighbors.py [--profiles 26945] [--genes 978] [--memory-mb 128]`
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pertcast.analysis.neighbors import NeighborBlock, neighbor_blocks, neighbors_of, write_neighbors
from timing import cpu_seconds

TILE = 1024
FACTORS = 60
BANDS = 1 << 12


def write_profiles(path: Path, n_profiles: int, n_genes: int) -> None:
    """Write correlated profiles (a few factors and noise) as float16, a band at a time."""
    rng = np.random.default_rng(0)
    loadings = rng.standard_normal((FACTORS, n_genes)).astype(np.float32)
    target = np.lib.format.open_memmap(path, "w+", np.float16, (n_profiles, n_genes))
    for start in range(0, n_profiles, BANDS):
        count = min(BANDS, n_profiles - start)
        noise = rng.standard_normal((count, n_genes)).astype(np.float32)
        scores = rng.standard_normal((count, FACTORS)).astype(np.float32)
        target[start : start + count] = scores @ loadings * 0.1 + noise
    target.flush()


def read_from(path: Path, shape: tuple[int, int]) -> Callable[[NDArray[np.int64]], NDArray[np.float32]]:
    """Read runs of rows from the file; nothing of it stays mapped."""
    offset = path.stat().st_size - 2 * shape[0] * shape[1]

    def read(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        start, count = int(rows[0]), len(rows)
        assert int(rows[-1]) - start == count - 1
        flat = np.fromfile(path, np.float16, count * shape[1], offset=offset + 2 * start * shape[1])
        return flat.reshape(count, shape[1]).astype(np.float32)

    return read


def search(path: Path, shape: tuple[int, int], memory_mb: int, n_strata: int = 1) -> Iterable[NeighborBlock]:
    return neighbor_blocks(
        np.arange(shape[0]) * n_strata // shape[0],
        np.arange(shape[0]),
        read_from(path, shape),
        memory_bytes=memory_mb << 20,
    )


def names(rows: NDArray[np.int64]) -> pl.Series:
    return pl.Series([f"A549:trt_xpr:GENE{row}:96h" for row in rows])


def bare_products(path: Path, shape: tuple[int, int]) -> float:
    """CPU seconds of all products of tiles; reading and scaling do not count."""
    read, out = read_from(path, shape), torch.empty(TILE, TILE)
    whole = np.zeros((-(-shape[0] // TILE) * TILE, shape[1]), np.float32)
    for start in range(0, shape[0], TILE):
        rows = np.arange(start, min(start + TILE, shape[0]))
        whole[start : start + len(rows)] = read(rows)
    tiles = [torch.from_numpy(whole[start : start + TILE]) for start in range(0, len(whole), TILE)]
    return cpu_seconds(lambda: [torch.mm(one, other.T, out=out) for one in tiles for other in tiles], 1)


def peak_mb() -> float:
    """Highest resident memory of this process so far; Linux counts it anew for every program."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def measure_memory(path: Path, shape: tuple[int, int], memory_mb: int, n_strata: int) -> dict[str, float]:
    """Peak memory in MB of searching in this process: before, after."""
    before = peak_mb()
    with tempfile.TemporaryDirectory() as folder:
        write_neighbors(Path(folder) / "n.parquet", search(path, shape, memory_mb, n_strata), names)
    return {"before": before, "after": peak_mb()}


def memory_of(path: Path, shape: tuple[int, int], memory_mb: int, n_strata: int) -> dict[str, float]:
    """Measure in a process of its own: a peak cannot be taken back."""
    command = [sys.executable, __file__, "--child", str(path), *map(str, (*shape, memory_mb, n_strata))]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def bench_speed(path: Path, shape: tuple[int, int], memory_mb: int) -> None:
    bare = bare_products(path, shape)
    print(f"{shape[0]:,} profiles of one stratum x {shape[1]:,} genes, 25 a tail, one thread")
    print(f"  bare products, all pairs {bare:8.1f} s   {shape[0] / bare:9,.0f} profiles/s")
    found: list[NeighborBlock] = []
    for limit in (memory_mb, memory_mb // 4):
        found.clear()
        seconds = cpu_seconds(partial(found.extend, search(path, shape, limit)), 1)
        print(f"  search within {limit:4d} MB     {seconds:8.1f} s   of the products {bare / seconds:.2f}")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "n.parquet"
        seconds = cpu_seconds(lambda: write_neighbors(target, found, names), 1)
        size = target.stat().st_size / 1e6
    print(f"  table of {len(found)} blocks       {seconds:8.1f} s   {size:.1f} MB on disk")
    read = read_from(path, shape)
    seconds = cpu_seconds(lambda: neighbors_of(shape[0] // 2, np.arange(shape[0]), read))
    print(f"  one profile against all  {seconds:8.2f} s")


def bench_memory(path: Path, shape: tuple[int, int], memory_mb: int) -> None:
    print("peak memory of a process that searches and writes the table, MB")
    sizes = ((shape[0] // 10, 1), (shape[0], 1), (3 * shape[0], 3))
    for limit in (memory_mb, memory_mb // 4):
        for n_profiles, n_strata in sizes:
            part = path.with_name(f"{n_profiles}.npy")
            if not part.exists():
                write_profiles(part, n_profiles, shape[1])
            peak = memory_of(part, (n_profiles, shape[1]), limit, n_strata)
            what = f"{n_profiles:8,} profiles in {n_strata} strata"
            print(f"  within {limit:4d} MB, {what}: {peak['before']:.0f} -> {peak['after']:.0f}", flush=True)


def main() -> None:
    if "--child" in sys.argv:
        n_profiles, n_genes, memory_mb, n_strata = map(int, sys.argv[3:])
        print(json.dumps(measure_memory(Path(sys.argv[2]), (n_profiles, n_genes), memory_mb, n_strata)))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profiles", type=int, default=26_945)
    parser.add_argument("--genes", type=int, default=978)
    parser.add_argument("--memory-mb", type=int, default=128)
    options = parser.parse_args()
    torch.set_num_threads(1)
    shape = (options.profiles, options.genes)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{options.profiles}.npy"
        write_profiles(path, *shape)
        bench_speed(path, shape, options.memory_mb)
        bench_memory(path, shape, options.memory_mb)


if __name__ == "__main__":
    main()
