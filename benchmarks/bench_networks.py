"""Reading a network as STRING writes it, protein ids mapped to symbols, beside Polars reading the text.

Each contestant runs in a process of its own; peak memory is what reading adds to the imports. Usage:
`python benchmarks/bench_networks.py [--rows 3000000] [--repeats 3] [--packed]`
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

N_GENES = 19_000
CONTESTANTS = {
    "polars": "pl.read_csv of the same file: three columns, nothing checked",
    "pertcast": "read_multiplex: ids mapped, each pair once, sorted, hashed",
}


def generate(folder: Path, n_rows: int, packed: bool) -> None:
    """Write links (both directions, scores 150-999) and the table of their proteins, from a fixed seed."""
    rng = np.random.default_rng(0)
    ends = rng.integers(0, N_GENES, (n_rows // 2, 2))
    ends = np.concatenate((ends, ends[:, ::-1]))
    scores = np.tile(rng.integers(150, 1_000, n_rows // 2), 2)
    proteins = pl.Series([f"9606.ENSP{number:011d}" for number in range(N_GENES)])
    names = [f"GENE{number}" for number in range(N_GENES)]
    table = pl.DataFrame({"string_protein_id": proteins, "preferred_name": names})
    table.write_csv(folder / "info.tsv", separator="\t")
    links = pl.DataFrame(
        {
            "protein1": proteins.gather(ends[:, 0]),
            "protein2": proteins.gather(ends[:, 1]),
            "combined_score": scores,
        }
    )
    links.write_csv(folder / "links.txt", separator=" ")
    if packed:
        content = (folder / "links.txt").read_bytes()
        (folder / "links.txt").write_bytes(gzip.compress(content, compresslevel=1))


def contest(name: str, folder: Path) -> None:
    """Read the links once and print seconds and the memory that it took."""
    from pertcast_data.networks.reading import read_multiplex

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu_start = time.perf_counter(), time.process_time()
    if name == "polars":
        n_edges = pl.read_csv(folder / "links.txt", separator=" ").height
    else:
        network = read_multiplex([folder / "links.txt"], gene_names=folder / "info.tsv")
        n_edges = len(network.networks[0].edges)
    seconds = time.perf_counter() - start
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    cpu = time.process_time() - cpu_start
    print(json.dumps({"seconds": seconds, "cpu_s": cpu, "peak_mb": peak, "edges": n_edges}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=3_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--packed", action="store_true", help="gzip the links")
    parser.add_argument("--contest", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contest:
        contest(options.contest[0], Path(options.contest[1]))
        return
    with tempfile.TemporaryDirectory() as name:
        generate(Path(name), options.rows, options.packed)
        size = (Path(name) / "links.txt").stat().st_size / 1e6
        print(f"{options.rows:,} rows, {size:,.0f} MB, best of {options.repeats}")
        best = {}
        for contestant, what in CONTESTANTS.items():
            command = [sys.executable, __file__, "--contest", contestant, name]
            runs = [
                json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                for _ in range(options.repeats)
            ]
            run = best[contestant] = min(runs, key=lambda one: one["seconds"])
            rate = options.rows / run["seconds"]
            print(
                f"{contestant:9} {run['seconds']:6.2f} s  {run['cpu_s']:6.2f} s CPU  {rate:12,.0f} rows/s  "
                f"+{run['peak_mb']:6,.0f} MB  {run['edges']:,} rows or edges  ({what})"
            )
        for what in ("seconds", "cpu_s"):
            ratio = best["polars"][what] / best["pertcast"][what]
            print(f"pertcast reads at {ratio:.2f} of the rate of bare Polars ({what})")


if __name__ == "__main__":
    main()
