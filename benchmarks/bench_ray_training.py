"""Training on Ray Train against training in this process, at equal threads: samples a second, data wait.

    python benchmarks/bench_ray_training.py [--rows 20000] [--genes 978] [--repeats 3]

Bars: Ray with the torch engine and one worker at least .9 of in-process; data wait below 5 % of step time.
Both train the same run; the medians of interleaved repeats are compared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import torch
from pertcast_data.splits import make_split
from pertcast_data.store import create_store
from pertcast_jobs.ray_session import ray_session
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train import run_training

BAR_RATIO, BAR_WAIT = 0.9, 0.05


def make_data(folder: Path, n_rows: int, n_genes: int) -> list[str]:
    """Write a store of wells with known structures, and its split; return the overrides that name them."""
    random = np.random.default_rng(0)
    n_compounds, n_plates = 64, 32
    compound = random.integers(-4, n_compounds, n_rows)
    is_control = compound < 0
    names = np.where(is_control, "DMSO", np.char.add("CPD-", compound.clip(0).astype(str)))
    obs = pl.DataFrame(
        {
            "sig_id": [f"well-{row}" for row in range(n_rows)],
            "cell_iname": random.choice(["A", "B"], n_rows),
            "pert_type": np.where(is_control, "ctl_vehicle", "trt_cp"),
            "pert_id": names,
            "pert_dose": [None if control else 10.0 for control in is_control],
            "pert_time": np.full(n_rows, 24.0),
            "canonical_smiles": [None if c < 0 else "C" * (c + 1) + "O" for c in compound],
            "batch_id": [f"plate-{plate}" for plate in random.integers(0, n_plates, n_rows)],
        }
    )
    var = pl.DataFrame({"gene_id": [f"{gene}" for gene in range(n_genes)]})
    values = random.normal(8, 1, (n_rows, n_genes)).astype(np.float32)
    store = create_store(
        folder / "store",
        obs=obs,
        var=var.with_columns(gene_symbol=pl.concat_str(pl.lit("GENE"), "gene_id")),
        batches=[values],
        measure="expression",
        normalisation="log2_intensity",
    )
    make_split(store, "random").save(folder / "split.json")
    return [f"data.store={folder / 'store'}", f"data.split={folder / 'split.json'}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--genes", type=int, default=978)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    places = {
        "in_process": ["cluster.launcher=in_process"],
        "ray_1_worker": ["cluster.launcher=ray", "cluster.num_workers=1"],
    }
    speeds: dict[str, list[float]] = {name: [] for name in places}
    waits: dict[str, list[float]] = {name: [] for name in places}
    with tempfile.TemporaryDirectory() as scratch, ray_session(num_cpus=2, dashboard=False):
        data = make_data(Path(scratch), options.rows, options.genes)
        for repeat in range(options.repeats):
            for name, cluster in places.items():
                config = load_config("response_mlp", [*data, *cluster, f"train.epochs={options.epochs}"])
                result = run_training(config, Path(scratch) / f"{name}-{repeat}").result
                speeds[name].append(result["speed"]["samples_per_second"])
                waits[name].append(result["speed"]["data_wait_share"])
    figures = {
        name: {
            "samples_per_second": round(statistics.median(speeds[name]), 1),
            "data_wait_share": round(statistics.median(waits[name]), 4),
        }
        for name in places
    }
    ratio = statistics.median(speeds["ray_1_worker"]) / statistics.median(speeds["in_process"])
    worst_wait = max(figure["data_wait_share"] for figure in figures.values())
    print(json.dumps({**figures, "ray_to_in_process": round(ratio, 3)}, indent=1))
    print(f"ray / in-process {ratio:.3f} (bar >= {BAR_RATIO}): {'ok' if ratio >= BAR_RATIO else 'MISSED'}")
    print(f"data wait {worst_wait:.3f} (bar < {BAR_WAIT}): {'ok' if worst_wait < BAR_WAIT else 'MISSED'}")


if __name__ == "__main__":
    main()
