"""Ingest of a sparse h5ad into a store, against anndata doing the same: read, sort, write Zarr.

Each contestant runs in a process of its own; CPU time and peak memory include its imports. With workers of a
Ray, CPU time is that of all processes, and the largest worker's peak stands beside the driver's. Usage:
`python benchmarks/bench_etl.py [--rows 200000] [--genes 5000] [--filled 0.133] [--only NAME ...]`
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

CONTESTANTS = {
    "anndata-zstd": "read_h5ad + sort + write_zarr, anndata's default codec (zstd)",
    "anndata-lz4": "the same, lz4-3 with shuffle",
    "pertcast-archive": "h5py batches -> create_store, zstd-1 with shuffle",
    "pertcast-train": "the same, lz4-3 with shuffle (the default)",
    "ingest-1": "pertcast data ingest: checked, resumable, in pieces, one process",
    "ingest-2": "the same on Ray Data with two workers",
}
PAIRS = (
    ("pertcast-archive", "anndata-zstd"),
    ("pertcast-train", "anndata-lz4"),
    ("ingest-1", "anndata-lz4"),
    ("ingest-2", "ingest-1"),
)
BARS = {"cpu_s": 0.6, "peak_mb": 0.5}
BATCH_ROWS = 8_192


def generate(path: Path, n_rows: int, n_genes: int, filled: float) -> None:
    """Write a CSR h5ad as anndata does: float32 counts, int32 indices, rows in no order."""
    import h5py
    import numpy as np
    import pandas as pd
    from anndata.io import write_elem

    rng = np.random.default_rng(0)
    conditions = rng.integers(0, 1_000, n_rows)
    obs = pd.DataFrame(
        {
            "cell_iname": pd.Categorical(rng.choice(["K562", "RPE1"], n_rows)),
            "pert_type": pd.Categorical(np.where(conditions < 50, "ctl_vector", "trt_xpr")),
            "pert_id": pd.Categorical([f"GENE{number}" for number in conditions]),
            "batch_id": pd.Categorical(rng.choice([f"batch{number}" for number in range(48)], n_rows)),
        },
        index=[f"cell{row}" for row in range(n_rows)],
    )
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        write_elem(file, "obs", obs)
        write_elem(file, "var", pd.DataFrame(index=[f"GENE{number}" for number in range(n_genes)]))
        group = file.create_group("X")
        group.attrs.update(
            {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": np.array([n_rows, n_genes])}
        )
        data = group.create_dataset("data", (0,), maxshape=(None,), dtype="f4", chunks=(1 << 20,))
        indices = group.create_dataset("indices", (0,), maxshape=(None,), dtype="i4", chunks=(1 << 20,))
        lengths = []
        for start in range(0, n_rows, BATCH_ROWS):
            present = rng.random((min(BATCH_ROWS, n_rows - start), n_genes), dtype=np.float32) < filled
            columns = np.nonzero(present)[1]
            lengths.append(present.sum(axis=1))
            values = rng.geometric(0.4, len(columns))
            for dataset, part in ((data, values), (indices, columns)):
                dataset.resize((dataset.shape[0] + len(part),))
                dataset[-len(part) :] = part
        group.create_dataset("indptr", data=np.concatenate([[0], np.cumsum(np.concatenate(lengths))]))


def run_anndata(source: Path, target: Path, codec: str) -> None:
    import anndata
    import numpy as np
    import zarr
    from zarr.codecs import BloscCodec

    data = anndata.read_h5ad(source)
    # What a careful user would do: narrow types as early as possible, one copy for the sort, none kept.
    matrix = data.X
    matrix.data = matrix.data.astype(np.uint16)
    shuffle = np.random.default_rng(0).permutation(data.n_obs)
    keys = [data.obs[name].to_numpy().astype(str) for name in ("pert_id", "pert_type", "cell_iname")]
    order = np.lexsort((shuffle, *keys))
    obs, var = data.obs.iloc[order], data.var
    del data
    matrix = matrix[order]
    matrix.indices = matrix.indices.astype(np.uint16)
    data = anndata.AnnData(matrix, obs=obs, var=var)
    lz4 = {"compressors": BloscCodec(cname="lz4", clevel=3, shuffle="shuffle", typesize=2)}
    group = zarr.open_group(str(target), mode="w", zarr_format=3)
    anndata.io.write_elem(group, "/", data, dataset_kwargs=lz4 if codec == "lz4" else {})


def run_pertcast(source: Path, target: Path, codec: str) -> None:
    import h5py
    import polars as pl
    import scipy.sparse as sparse
    from anndata.io import read_elem
    from pertcast_data.store import create_store

    def batches(group: h5py.Group) -> Iterator[sparse.csr_matrix]:
        n_genes = int(group.attrs["shape"][1])
        indptr = group["indptr"][:]
        for start in range(0, len(indptr) - 1, BATCH_ROWS):
            part = indptr[start : start + BATCH_ROWS + 1]
            span = slice(part[0], part[-1])
            rows = (group["data"][span], group["indices"][span], part - part[0])
            yield sparse.csr_matrix(rows, shape=(len(part) - 1, n_genes))

    with h5py.File(source, "r") as file:
        obs = pl.from_pandas(read_elem(file["obs"]))
        create_store(
            target,
            obs=obs,
            var=pl.DataFrame({"gene_symbol": list(read_elem(file["var"]).index)}),
            batches=batches(file["X"]),
            measure="expression",
            normalisation="counts",
            codec=codec,  # type: ignore[arg-type]
        )


def run_ingest(source: Path, target: Path, workers: str) -> None:
    from pertcast_data.ingest import ingest
    from pertcast_jobs.ingest.runners import get_executor
    from pertcast_jobs.ray_session import ray_session

    if workers == "1":
        ingest([source], target)
        return
    with ray_session(num_cpus=int(workers), dashboard=False), get_executor("ray-data")() as runner:
        ingest([source], target, runner=runner)


@contextmanager
def followed(figures: dict[str, float]) -> Iterator[None]:
    """Sum the CPU time of all descendants and find the largest worker's peak while the block runs."""
    seen: dict[int, tuple[float, float]] = {}
    ended = threading.Event()

    def follow() -> None:
        while not ended.wait(0.25):
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error, OSError, StopIteration):
                    times = process.cpu_times()
                    is_worker = process.name().startswith("ray::")
                    seen[process.pid] = (
                        times.user + times.system,
                        peak_mb(process.pid) if is_worker else 0.0,
                    )

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        figures["others_cpu_s"] = sum(cpu for cpu, _ in seen.values())
        figures["worker_peak_mb"] = max((peak for _, peak in seen.values()), default=0.0)


def peak_mb(process: int | str) -> float:
    """Return the high-water mark of one program alone; getrusage would inherit its parent's."""
    status = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def run_worker(name: str, source: Path, target: Path) -> None:
    """Run one contestant in this process and print its figures as JSON."""
    start = time.perf_counter()
    package, option = name.split("-")
    runners: dict[str, Callable[[Path, Path, str], None]] = {
        "anndata": run_anndata,
        "pertcast": run_pertcast,
        "ingest": run_ingest,
    }
    others: dict[str, float] = {}
    with followed(others):
        runners[package](source, target, option)
    used = os.times()
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    figures = {
        "cpu_s": used.user + used.system + others["others_cpu_s"],
        "wall_s": time.perf_counter() - start,
        "peak_mb": peak_mb("self"),
        "worker_peak_mb": others["worker_peak_mb"],
        "size_mb": size / 1e6,
    }
    sys.stdout.write(json.dumps(figures) + "\n")


def call(*arguments: str) -> str:
    command = [sys.executable, "-W", "ignore", str(Path(__file__).resolve()), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def compare(options: argparse.Namespace, folder: Path) -> dict[str, dict[str, float]]:
    """Return the figures of each contestant: the run with the least CPU time of `repeats`."""
    source = options.source or folder / "source.h5ad"
    if not source.exists():
        sizes = ("--rows", str(options.rows), "--genes", str(options.genes), "--filled", str(options.filled))
        call("--generate", str(source), *sizes)
    best: dict[str, dict[str, float]] = {}
    for name in [name for _ in range(options.repeats) for name in options.only]:
        target = folder / name
        figures = json.loads(call("--worker", name, str(source), str(target)).splitlines()[-1])
        shutil.rmtree(target)
        if name not in best or figures["cpu_s"] < best[name]["cpu_s"]:
            best[name] = figures
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--genes", type=int, default=5_000)
    parser.add_argument("--filled", type=float, default=0.133, help="share of values that are not zero")
    parser.add_argument("--only", nargs="+", default=[*CONTESTANTS], choices=[*CONTESTANTS])
    parser.add_argument("--source", type=Path, help="keep the generated file here, or take it from here")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print figures as JSON only")
    parser.add_argument("--generate", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.generate:
        generate(options.generate, options.rows, options.genes, options.filled)
        return
    if options.worker:
        run_worker(options.worker[0], Path(options.worker[1]), Path(options.worker[2]))
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = compare(options, Path(folder))
    ratios = {
        f"{ours} / {theirs}": {
            key: figures[ours][key] / figures[theirs][key] for key in ("cpu_s", "wall_s", "peak_mb")
        }
        for ours, theirs in PAIRS
        if ours in figures and theirs in figures
    }
    if options.json:
        print(json.dumps({"rows": options.rows, "figures": figures, "ratios": ratios}))
        return
    print(f"{options.rows} x {options.genes} counts, {options.filled:.1%} filled (aims: {BARS} of anndata)\n")
    for name, row in figures.items():
        numbers = "  ".join(f"{key} {value:8.1f}" for key, value in row.items())
        print(f"{name:18s} {numbers}   {CONTESTANTS[name]}")
    for pair, row in ratios.items():
        print(f"{pair}: " + ", ".join(f"{key} {value:.2f}" for key, value in row.items()))


if __name__ == "__main__":
    main()
