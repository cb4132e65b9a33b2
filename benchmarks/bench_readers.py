"""Reading every row of a file, and 1,000 rows of its middle, beside what a user would call instead.

One matrix is written in eleven ways: counts where the format is sparse, intensities where it is dense. Each
contestant reads it in a process of its own and adds up all values, which must agree; CPU time and peak memory
are above the imports. Rivals without a way to read some rows have no figures for them. Usage:
`python benchmarks/bench_readers.py [--rows 1500] [--genes 500] [--filled 0.1] [--only NAME ...]`
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from reader_files import FILES, generate

RIVALS = {
    "h5ad-csr": "anndata.read_h5ad; backed for some rows",
    "h5ad-csc": "anndata.read_h5ad, tocsr",
    "h5ad-dense": "anndata.read_h5ad; backed for some rows",
    "zarr-csr": "anndata.read_zarr",
    "10x-h5": "h5py, whole arrays into a csr_matrix",
    "mtx-gz": "scipy.io.mmread of the unpacked stream, tocsr",
    "gctx": "h5py, whole matrix; a slice for some rows",
    "gct": "pandas.read_csv, turned",
    "csv-profiles": "polars.read_csv, to_numpy",
    "csv-genes": "polars.read_csv, to_numpy, turned",
    "parquet": "polars.read_parquet, to_numpy",
}
PART_ROWS = 1_000


def read_pertcast(path: Path, start: int, stop: int | None) -> Iterator[Any]:
    from pertcast_data.readers import open_source

    yield from open_source(path).batches(start=start, stop=stop)


def read_rival(name: str, path: Path, start: int, stop: int | None) -> Any:
    """Return profiles start..stop as an array or a csr_matrix, None where only all can be read."""
    can_part = ("h5ad-csr", "h5ad-dense", "gctx")
    if stop is not None and name not in can_part:
        return None
    if name.startswith(("h5ad", "zarr")):
        return _rival_anndata(path, start, stop)
    if name == "10x-h5":
        return _rival_10x(path)
    if name == "mtx-gz":
        import scipy.io

        with gzip.open(path / "matrix.mtx.gz") as file:
            return scipy.io.mmread(file).T.tocsr()
    if name == "gctx":
        import h5py

        with h5py.File(path) as file:
            return file["0/DATA/0/matrix"][start:stop]
    return _rival_table(name, path)


def _rival_anndata(path: Path, start: int, stop: int | None) -> Any:
    import anndata

    if path.suffix == ".zarr":
        return anndata.read_zarr(path).X
    if stop is not None:
        return anndata.read_h5ad(path, backed="r")[start:stop].to_memory().X
    matrix = anndata.read_h5ad(path).X
    return matrix.tocsr() if path.stem.endswith("csc") else matrix


def _rival_10x(path: Path) -> Any:
    import h5py
    import scipy.sparse as sparse

    with h5py.File(path) as file:
        parts = tuple(file[f"matrix/{part}"][:] for part in ("data", "indices", "indptr"))
        return sparse.csr_matrix(parts, shape=tuple(file["matrix/shape"][:][::-1]))


def _rival_table(name: str, path: Path) -> Any:
    import numpy as np

    if name == "gct":
        import pandas as pd

        table = pd.read_csv(path, sep="\t", skiprows=2, index_col=0).drop(columns="Description")
        return np.ascontiguousarray(table.to_numpy(np.float32).T)
    import polars as pl

    frame = pl.read_parquet(path) if name == "parquet" else pl.read_csv(path)
    values = frame.drop("id").cast(pl.Float32).to_numpy()
    return np.ascontiguousarray(values.T if name == "csv-genes" else values)


def import_libraries() -> None:
    """Load what the contestants need, so that it is in no figure."""
    for name in ("anndata", "h5py", "pandas", "polars", "pyarrow", "scipy.io", "zarr"):
        import_module(name)
    import_module("pertcast_data.readers")


def memory_mb(what: str) -> float:
    """Return VmRSS (now) or VmHWM (most so far) of this process."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(what)) / 1024


def contest(contestant: str, name: str, path: Path, start: int, stop: int | None) -> dict[str, float] | None:
    """Read profiles start..stop; return CPU seconds, peak MB above the imports and the sum of all values."""
    import_libraries()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    before, cpu = memory_mb("VmRSS"), time.process_time()
    if contestant == "pertcast":
        total = sum(float(batch.sum(dtype="f8")) for batch in read_pertcast(path, start, stop))
    else:
        profiles = read_rival(name, path, start, stop)
        if profiles is None:
            return None
        total = float(profiles.sum(dtype="f8"))
    cpu_s = time.process_time() - cpu
    return {"cpu_s": cpu_s, "peak_mb": memory_mb("VmHWM") - before, "total": total}


def call(*arguments: str) -> str:
    command = [sys.executable, "-W", "ignore", str(Path(__file__).resolve()), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def measured(name: str, path: Path, span: tuple[int, int | None], repeats: int) -> dict[str, Any]:
    """Return the figures of both for some profiles: of each the run with the least CPU time."""
    figures: dict[str, Any] = {}
    start, stop = span
    for contestant in ("pertcast", "rival"):
        asked = ("--contest", contestant, name, str(path), str(start), "end" if stop is None else str(stop))
        runs = [json.loads(call(*asked).splitlines()[-1]) for _ in range(repeats)]
        figures[contestant] = min(runs, key=lambda run: run["cpu_s"]) if runs[0] else None
    ours, theirs = figures["pertcast"], figures["rival"]
    if theirs is not None:
        if abs(ours["total"] - theirs["total"]) > 1e-5 * abs(ours["total"]):
            raise SystemExit(f"{name}: the values sum to {ours['total']} here, {theirs['total']} there.")
        figures["ratios"] = {key: ours[key] / theirs[key] for key in ("cpu_s", "peak_mb")}
    return figures


def compare(options: argparse.Namespace, folder: Path) -> dict[str, dict[str, Any]]:
    """Return for each format its size and the figures of both, of all rows and of some."""
    sizes = ("--rows", str(options.rows), "--genes", str(options.genes), "--filled", str(options.filled))
    call("--generate", str(folder), *sizes, "--only", *options.only)
    begin = max(0, (options.rows - PART_ROWS) // 2)
    table: dict[str, dict[str, Any]] = {}
    for name in options.only:
        path = folder / FILES[name]
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        table[name] = {
            "mb": sum(file.stat().st_size for file in files) / 1e6,
            "all": measured(name, path, (0, None), options.repeats),
            "part": measured(name, path, (begin, begin + PART_ROWS), options.repeats),
        }
    return table


def lines(table: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Give the tables as Markdown."""
    yield "| format | file MB | CPU s | MB/CPU s | peak MB | rival | its CPU s | its peak MB | ratios |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, row in table.items():
        ours, theirs, ratios = (row["all"][key] for key in ("pertcast", "rival", "ratios"))
        rate = f"{ours['cpu_s']:.2f} | {row['mb'] / ours['cpu_s']:,.0f} | {ours['peak_mb']:,.0f}"
        ratio = f"{ratios['cpu_s']:.2f}, {ratios['peak_mb']:.2f}"
        other = f"{RIVALS[name]} | {theirs['cpu_s']:.2f} | {theirs['peak_mb']:,.0f}"
        yield f"| {name} | {row['mb']:,.1f} | {rate} | {other} | {ratio} |"
    yield ""
    yield f"| {PART_ROWS:,} rows of the middle | CPU s | peak MB | its CPU s | its peak MB |"
    yield "|---|---|---|---|---|"
    for name, row in table.items():
        ours, theirs = row["part"]["pertcast"], row["part"]["rival"]
        other = f"{theirs['cpu_s']:.2f} | {theirs['peak_mb']:,.0f}" if theirs else "reads all |"
        yield f"| {name} | {ours['cpu_s']:.2f} | {ours['peak_mb']:,.0f} | {other} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_500)
    parser.add_argument("--genes", type=int, default=500)
    parser.add_argument("--filled", type=float, default=0.1, help="share of counts that are not zero")
    parser.add_argument("--only", nargs="+", default=[*RIVALS], choices=[*RIVALS])
    parser.add_argument("--folder", type=Path, help="keep the generated files here, or take them from here")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print figures as JSON only")
    parser.add_argument("--generate", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--contest", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.generate:
        generate(options.generate, options.rows, options.genes, options.filled, options.only)
        return
    if options.contest:
        contestant, name, path, start, stop = options.contest
        last = None if stop == "end" else int(stop)
        print(json.dumps(contest(contestant, name, Path(path), int(start), last)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        table = compare(options, folder)
    if options.json:
        print(json.dumps({"rows": options.rows, "genes": options.genes, "formats": table}))
        return
    print(f"{options.rows:,} x {options.genes:,}, sparse formats {options.filled:.0%} filled\n")
    print("\n".join(lines(table)))


if __name__ == "__main__":
    main()
