"""Measuring quality beside two bare passes over the same batches, and beside a notebook's correlations.

Profiles lie in memory; each contestant runs in a process of its own, CPU time and peak memory are above
imports and profiles. `own_mb` leaves out pages of temporary files, which the system may take back. Usage:
`python benchmarks/bench_quality.py [--dense 30000 978] [--counts 20000 2000] [--conditions 1000 4000]`
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import polars as pl
import scipy.sparse as sparse
from numpy.typing import NDArray
from pertcast_data.quality import measure_quality

Kind = Literal["dense", "counts"]

CONTESTANTS = {
    "sums": "two passes that sum the batches by gene, nothing else",
    "pertcast": "measure_quality: copies, values, replicates, strength, targets, and the null of each",
    "notebook": "pandas groupby means of controls, np.corrcoef condition by condition, nothing else",
}
BATCH_ROWS = 4_096
PLATE_ROWS = 384
CONTROL_SHARE = 0.06
FILLED = 0.1
FLOOR_QUANTILE = 0.1


@dataclass(frozen=True)
class Screen:
    """Profiles of one line: (N, G) intensities or CSR counts, and their row table."""

    kind: Kind
    profiles: Any
    obs: pl.DataFrame

    @property
    def is_control(self) -> NDArray[np.bool_]:
        """(N,) whether a row is a control."""
        return self.obs["pert_type"].str.starts_with("ctl").to_numpy()

    def batches(self) -> Iterator[Any]:
        """Yield all profiles, some rows at a time."""
        for start in range(0, self.profiles.shape[0], BATCH_ROWS):
            yield self.profiles[start : start + BATCH_ROWS]


def make_screen(kind: Kind, n_rows: int, n_genes: int, n_conditions: int) -> Screen:
    """Draw profiles with an effect in each condition; replicates lie on different plates."""
    rng = np.random.default_rng(0)
    is_control = rng.random(n_rows) < CONTROL_SHARE
    condition = rng.permutation(np.arange(n_rows) % n_conditions)
    if kind == "dense":
        profiles: Any = (8 + 0.5 * rng.standard_normal((n_rows, n_genes), np.float32)).astype(np.float32)
        effects = rng.normal(0, 0.2, (n_conditions, n_genes)).astype(np.float32)
        profiles += np.where(is_control[:, None], np.float32(0), effects[condition])
    else:
        row, gene = np.nonzero(rng.random((n_rows, n_genes), dtype=np.float32) < FILLED)
        values = rng.geometric(0.4, len(row)) + 2 * ((condition[row] + gene) % 50 == 0)
        profiles = sparse.csr_matrix((values.astype(np.float32), (row, gene)), shape=(n_rows, n_genes))
    control, treated = ("ctl_vehicle", "trt_cp") if kind == "dense" else ("ctl_vector", "trt_xpr")
    names = [f"G{number}" for number in condition]
    obs = pl.DataFrame(
        {
            "sig_id": [f"profile{row}" for row in range(n_rows)],
            "cell_iname": ["A549"] * n_rows,
            "pert_type": np.where(is_control, control, treated),
            "pert_id": np.where(is_control, "control", names),
            "batch_id": [f"plate{row // PLATE_ROWS}" for row in range(n_rows)],
            "pert_time": [24.0] * n_rows,
        }
    )
    return Screen(kind, profiles, obs)


def run_sums(screen: Screen) -> dict[str, Any]:
    total: Any = 0
    for _ in range(2):
        for batch in screen.batches():
            total = total + np.asarray(batch.sum(axis=0)).ravel()
    return {"total": float(total.sum())}


def run_pertcast(screen: Screen) -> dict[str, Any]:
    n_genes = screen.profiles.shape[1]
    quality = measure_quality(
        screen.obs,
        pl.DataFrame({"gene_symbol": [f"G{number}" for number in range(n_genes)]}),
        screen.batches,
        measure="expression",
        normalisation="log2_intensity" if screen.kind == "dense" else "counts",
    )
    effects = quality.report.effects
    if effects is None:
        raise SystemExit(f"no effects were measured: {quality.report.no_effects}")
    treated = quality.per_condition.filter(~pl.col("is_control"))
    found = dict(treated.select("pert_id", "replicate_correlation").drop_nulls().iter_rows())
    return {"method": effects.method, "correlations": found}


def run_notebook(screen: Screen) -> dict[str, Any]:
    """Correlate replicates as a notebook would: cell means by halves, bulk profiles pair by pair."""
    obs, is_control = screen.obs, screen.is_control
    profiles = screen.profiles
    if screen.kind == "counts":
        profiles = profiles.toarray()
        profiles = np.log1p(profiles / profiles.sum(axis=1, keepdims=True) * np.float32(1e4))
    frame = pd.DataFrame(profiles)
    plate = obs["batch_id"].to_numpy()
    control_means = frame[is_control].groupby(plate[is_control]).mean()
    frame = frame - control_means.loc[plate].to_numpy()
    own = frame[is_control]
    spread = own.abs().median() if screen.kind == "dense" else own.std()
    frame = frame[~is_control] / np.maximum(spread, spread[spread > 0].quantile(FLOOR_QUANTILE))
    condition = obs["pert_id"].to_numpy()[~is_control]
    sizes = pd.Series(condition).value_counts()
    if sizes[sizes > 1].median() <= 10:
        groups = frame.groupby(condition)
    else:
        half = np.random.default_rng(0).integers(0, 2, len(condition))
        means = frame.groupby([condition, half]).mean()
        groups = means.groupby(level=0)
    found = {}
    for name, replicates in groups:
        n = len(replicates)
        if n > 1:
            correlation = np.corrcoef(replicates.to_numpy())
            found[str(name)] = float((correlation.sum() - n) / (n * (n - 1)))
    return {"correlations": found}


RUNNERS: dict[str, Callable[[Screen], dict[str, Any]]] = {
    "sums": run_sums,
    "pertcast": run_pertcast,
    "notebook": run_notebook,
}


def memory_mb(what: str) -> float:
    """Return VmRSS (all, now), VmHWM (all, the most so far) or RssAnon (without files, now)."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(what)) / 1024


@contextmanager
def followed(figures: dict[str, Any]) -> Iterator[None]:
    """Measure CPU time and the memory that the block adds, with and without pages of files."""
    ended, most = threading.Event(), [memory_mb("RssAnon")]

    def follow() -> None:
        while not ended.wait(0.01):
            most[0] = max(most[0], memory_mb("RssAnon"))

    Path("/proc/self/clear_refs").write_text("5")
    all_before, own_before = memory_mb("VmRSS"), most[0]
    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    start, cpu = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        figures["cpu_s"] = time.process_time() - cpu
        figures["wall_s"] = time.perf_counter() - start
        ended.set()
        thread.join()
        figures["peak_mb"] = memory_mb("VmHWM") - all_before
        figures["own_mb"] = most[0] - own_before


def contest(name: str, kind: Kind, sizes: list[int], target: Path) -> None:
    """Run one contestant in this process; write its figures as JSON."""
    screen = make_screen(kind, *sizes)
    run_sums(screen)  # touches every page of the profiles, so that nobody pays for it
    figures: dict[str, Any] = {}
    with followed(figures):
        found = RUNNERS[name](screen)
    target.write_text(json.dumps({**figures, **found}))


def compare(kind: Kind, sizes: list[int], repeats: int, folder: Path) -> dict[str, Any]:
    """Return figures and ratios of one screen: of each contestant the run with the least CPU time."""
    best: dict[str, dict[str, Any]] = {}
    target = folder / "figures.json"
    for name in [name for _ in range(repeats) for name in CONTESTANTS]:
        asked = ["--contest", name, kind, *map(str, sizes), str(target)]
        command = [sys.executable, "-W", "ignore", str(Path(__file__).resolve()), *asked]
        subprocess.run(command, check=True)
        figures = json.loads(target.read_text())
        if name not in best or figures["cpu_s"] < best[name]["cpu_s"]:
            best[name] = figures
    ours, theirs = (best[name].pop("correlations") for name in ("pertcast", "notebook"))
    shared = sorted(ours.keys() & theirs.keys())
    difference = np.abs([ours[name] - theirs[name] for name in shared])
    ratios = {other: best["pertcast"]["cpu_s"] / best[other]["cpu_s"] for other in ("sums", "notebook")}
    return {
        "kind": kind,
        "rows": sizes[0],
        "genes": sizes[1],
        "conditions": sizes[2],
        "method": best["pertcast"].pop("method"),
        "figures": best,
        "cpu_ratios": ratios,
        "compared": len(shared),
        "largest_difference": float(difference.max()) if len(shared) else None,
    }


def lines(screens: list[dict[str, Any]]) -> Iterator[str]:
    """Give one line of Markdown a screen and contestant."""
    yield "| profiles | conditions | contestant | CPU s | rows/s | peak MB | without files | CPU of sums |"
    yield "|---|---|---|---|---|---|---|---|"
    for screen in screens:
        what = f"{screen['rows']:,} x {screen['genes']:,} {screen['kind']}"
        for name, row in screen["figures"].items():
            rate = f"{row['cpu_s']:.2f} | {screen['rows'] / row['cpu_s']:,.0f}"
            memory = f"{row['peak_mb']:,.0f} | {row['own_mb']:,.0f}"
            ratio = row["cpu_s"] / screen["figures"]["sums"]["cpu_s"]
            label = f"{what} | {screen['conditions']:,} ({screen['method']})"
            yield f"| {label} | {name} | {rate} | {memory} | {ratio:.1f} |"
    yield ""
    for screen in screens:
        if screen["method"] == "pairs":
            what = f"{screen['kind']}, {screen['conditions']:,} conditions"
            most = f"{screen['largest_difference']:.0e}"
            yield f"{what}: {screen['compared']:,} replicate correlations, at most {most} from the notebook's"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dense", type=int, nargs=2, default=[12_000, 978], metavar=("ROWS", "GENES"))
    parser.add_argument("--counts", type=int, nargs=2, default=[8_000, 2_000], metavar=("ROWS", "GENES"))
    parser.add_argument("--conditions", type=int, nargs="+", default=[1_000, 4_000])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print figures as JSON only")
    parser.add_argument("--contest", nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contest:
        name, kind, *sizes, target = options.contest
        contest(name, kind, [int(size) for size in sizes], Path(target))
        return
    # Three replicates a condition, as plates of compounds have, beside the numbers of conditions asked for.
    dense = sorted({*options.conditions, options.dense[0] // 3})
    cases: list[tuple[Kind, list[int]]] = [("dense", [*options.dense, number]) for number in dense]
    cases += [("counts", [*options.counts, number]) for number in options.conditions]
    with tempfile.TemporaryDirectory() as folder:
        screens = [compare(kind, sizes, options.repeats, Path(folder)) for kind, sizes in cases]
    if options.json:
        print(json.dumps(screens))
        return
    for name, what in CONTESTANTS.items():
        print(f"{name:9} {what}")
    print()
    print("\n".join(lines(screens)))


if __name__ == "__main__":
    main()
