"""Exports of a screen: profiles per CPU-second of each format beside a bare copy of the values, and memory.

A screen of random numbers is made once; each format is written by a process of its own. Peak memory is
printed at two sizes: it must not grow with the screen (gct: but for its mapped temporary file). Usage:
`python benchmarks/bench_export.py [--profiles 80835] [--genes 978] [--only gctx ...]`
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FORMATS = ("h5ad", "gctx", "gct", "gmt", "csv")
BARE = "bare"
SHARE = 4
"""The smaller screen has so many times fewer profiles."""


def make_screen(path: Path, n_profiles: int, n_genes: int) -> None:
    """Write what an export reads: profiles, ranks, sig_info, hits and the manifest's facts."""
    import numpy as np
    import polars as pl
    import zarr
    from pertcast_data.store.zarr_layout import create_array, create_dense_group, open_array, write_obs

    path.mkdir()
    root, shard = path / "profiles.zarr", 1024
    genes = [f"GENE{number:05d}" for number in range(n_genes)]
    create_dense_group(
        root,
        n_profiles,
        n_genes,
        shard_rows=shard,
        dtype=np.float16,
        var=pl.DataFrame({"gene_symbol": genes}),
    )
    shape = {"shape": (n_profiles, n_genes), "chunks": (64, n_genes), "shards": (shard, n_genes)}
    ranks = zarr.create_group(str(path / "ranks.zarr"), zarr_format=3)
    create_array(ranks, "rank", **shape, dtype=np.uint16, codec="none")  # type: ignore[arg-type]
    values, places = open_array(root, "X"), open_array(path / "ranks.zarr", "rank")
    random = np.random.default_rng(0)
    for start in range(0, n_profiles, shard):
        block = random.normal(0, 1, (min(shard, n_profiles - start), n_genes)).astype(np.float32)
        values[start : start + len(block)] = block.astype(np.float16)
        places[start : start + len(block)] = np.argsort(np.argsort(-block, axis=1), axis=1).astype(np.uint16)
    row = np.arange(n_profiles)
    info = pl.DataFrame(
        {
            "sig_id": [f"K562|trt_sh|GENE{number:06d}||96" for number in row],
            "pert_id": [f"GENE{number:06d}" for number in row],
            "cmap_name": [f"GENE{number:06d}" for number in row],
            "pert_type": "trt_sh",
            "cell_iname": "K562",
            "pert_time": 96.0,
            "effect_size": random.random(n_profiles),
        }
    ).with_columns(pert_dose=pl.lit(None, dtype=pl.Float64))
    info.write_parquet(path / "sig_info.parquet", row_group_size=16_384)
    hits = info.with_columns(fdr=pl.lit(None, dtype=pl.Float64)).sort("effect_size", descending=True)
    hits.with_row_index("rank", 1).write_parquet(path / "hits.parquet", row_group_size=16_384)
    write_obs(root, info.head(0), None)
    facts = {"format": "pertcast-screen", "n_profiles": n_profiles, "bundle": {"model_id": "random"}}
    (path / "manifest.json").write_text(json.dumps(facts))


def bare_copy(screen: Path, out: Path) -> None:
    """Read every value and write it as float32 into one file: what no binary format can do without."""
    import numpy as np
    from pertcast_data.store.zarr_layout import open_array

    array = open_array(screen / "profiles.zarr", "X", mode="r")
    with out.open("wb") as file:
        for start in range(0, array.shape[0], 8192):
            np.asarray(array[start : start + 8192]).astype(np.float32).tofile(file)


def run_one(screen: Path, name: str, out: Path) -> dict[str, float]:
    """Write one format in this process; CPU seconds without imports, and peak memory in MB."""
    import resource

    from pertcast_jobs.screen_export import ExportRequest, export_screen

    started = time.process_time()
    if name == BARE:
        bare_copy(screen, out)
    else:
        export_screen(ExportRequest(screen, name, out))
    cpu = time.process_time() - started
    return {"cpu_s": cpu, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def measured(screen: Path, name: str, out: Path) -> dict[str, float]:
    words = [sys.executable, __file__, "--screen", str(screen), "--name", name, "--out", str(out)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    result["mb"] = out.stat().st_size / 2**20
    out.unlink()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profiles", type=int, default=80_835)
    parser.add_argument("--genes", type=int, default=978)
    parser.add_argument("--only", nargs="*", default=list(FORMATS), choices=FORMATS)
    parser.add_argument("--screen", type=Path)
    parser.add_argument("--name")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if asked.name:
        print(json.dumps(run_one(asked.screen, asked.name, asked.out)))
        return
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder, "small"), Path(folder, "large")
        make_screen(small, asked.profiles // SHARE, asked.genes)
        make_screen(large, asked.profiles, asked.genes)
        print(f"{'format':>8} {'CPU':>7} {'rows/s':>11} {'of bare':>8} {'MB':>7} {'peak':>8} {'at 1/4':>7}")
        bare = 0.0
        for name in (BARE, *asked.only):
            before = measured(small, name, Path(folder, "out"))
            found = measured(large, name, Path(folder, "out"))
            bare = found["cpu_s"] if name == BARE else bare
            rate, share = asked.profiles / found["cpu_s"], bare / found["cpu_s"]
            print(
                f"{name:>8} {found['cpu_s']:7.1f} {rate:11,.0f} {share:8.2f} {found['mb']:7,.0f} "
                f"{found['peak_mb']:8,.0f} {before['peak_mb']:7,.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
