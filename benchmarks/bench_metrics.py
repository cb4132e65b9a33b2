"""CPU time and peak memory of the full metric set on a pair of files of cells, beside cell-eval on the same.

`python benchmarks/bench_metrics.py --peer PYTHON` writes a truth and a prediction (by default 300 conditions
x 200 cells x 5,000 genes), scores them in one process each, on one thread each, and prints JSON. PYTHON is an
interpreter that has cell-eval; without it only the own figures are printed. Reading the files counts on both
sides; cell-eval's clustering agreement is left out, as nothing here corresponds to it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas
import scipy.sparse as sparse
from numpy.typing import NDArray

Floats = NDArray[np.float32]

PEER = """
import json, resource, sys, tempfile
import anndata
from cell_eval import MetricsEvaluator
prediction, truth = (anndata.read_h5ad(path) for path in sys.argv[1:3])
with tempfile.TemporaryDirectory() as folder:
    evaluator = MetricsEvaluator(
        adata_pred=prediction, adata_real=truth, control_pert="non-targeting", pert_col="target_gene",
        num_threads=1, outdir=folder,
    )
    scores, _ = evaluator.compute(profile="full", skip_metrics=["clustering_agreement"], write_csv=False)
used = resource.getrusage(resource.RUSAGE_SELF)
means = {name: scores[name].mean() for name in scores.columns if name != "perturbation"}
print(json.dumps({
    "cpu_s": used.ru_utime + used.ru_stime, "peak_gb": used.ru_maxrss / 1e6, "metrics": len(means),
    "means": means,
}))
"""


def log_normalised(rates: NDArray[np.float64], n: int, random: np.random.Generator) -> Floats:
    """Return (n, G) cells of Poisson counts, scaled to the same total and log1p."""
    counts = random.poisson(rates * random.uniform(0.5, 1.5, (n, 1)))
    scaled = counts * (rates.sum() / np.maximum(counts.sum(axis=1, keepdims=True), 1))
    cells: Floats = np.log1p(scaled).astype(np.float32)
    return cells


def populations(args: argparse.Namespace, share_known: float) -> Iterator[tuple[str, Floats]]:
    """Yield names and cells: controls, and conditions where a tenth of the genes respond."""
    random = np.random.default_rng(1 if share_known == 1 else 2)
    world = np.random.default_rng(0)
    rates = world.gamma(0.5, 1.0, args.genes)
    yield "non-targeting", log_normalised(rates, args.controls, random)
    for i in range(args.conditions):
        response = world.normal(0, 1, args.genes) * (world.random(args.genes) < 0.1)
        yield f"p{i:04}", log_normalised(rates * np.exp(share_known * response), args.cells, random)


def write(path: Path, args: argparse.Namespace, share_known: float) -> None:
    """Write one file of cells."""
    names, blocks = [], []
    for name, cells in populations(args, share_known):
        names += [name] * len(cells)
        blocks.append(sparse.csr_matrix(cells) if args.layout == "csr" else cells)
    matrix = sparse.vstack(blocks, format="csr") if args.layout == "csr" else np.concatenate(blocks)
    obs = pandas.DataFrame(
        {"target_gene": pandas.Categorical(names)}, index=[f"cell{i}" for i in range(len(names))]
    )
    var = pandas.DataFrame(index=[f"g{i}" for i in range(args.genes)])
    anndata.AnnData(matrix, obs=obs, var=var).write_h5ad(path)


def own(prediction: Path, truth: Path) -> dict[str, Any]:
    """Score a pair with every metric of conditions and of cells, differential expression included."""
    from pertcast.evaluation.cells.cell_scores import compare_cells
    from pertcast.evaluation.gene_tests.differential import cell_tests
    from pertcast.evaluation.metrics.across import ACROSS
    from pertcast.evaluation.other_tools.pair import open_pair
    from pertcast.evaluation.scores.score_board import score_conditions

    pair = open_pair(prediction, truth)
    tests = cell_tests(pair.measured)
    assert pair.predicted is not None
    cells = compare_cells(pair.measured, pair.predicted, tests)
    scores = {**score_conditions(pair.prediction, pair.held), **cells.scores}
    means = {name: float(np.nanmean(v)) for name, v in scores.items() if not np.isnan(v).all()}
    means |= {name: metric.score(cells.facts) for name, metric in ACROSS.items()}
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime
    return {"cpu_s": cpu, "peak_gb": used.ru_maxrss / 1e6, "metrics": len(means), "means": means}


def measured(command: list[str]) -> dict[str, Any]:
    """Run a command on one thread and return the JSON of its last line."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    done = subprocess.run(command, env=os.environ | one_thread, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conditions", type=int, default=300)
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--controls", type=int, default=1000)
    parser.add_argument("--genes", type=int, default=5000)
    parser.add_argument("--layout", choices=("csr", "dense"), default="dense")
    parser.add_argument("--peer", type=Path, help="an interpreter that has cell-eval")
    parser.add_argument("--score", type=Path, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.score:
        print(json.dumps(own(*args.score)))
        return
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, "prediction.h5ad"), Path(folder, "truth.h5ad")]
        for path, share in zip(files, (0.7, 1.0), strict=True):
            write(path, args, share)
        report = {
            "size": f"{args.conditions} x {args.cells} cells x {args.genes} genes, {args.controls} controls",
            "layout": args.layout,
            "pertcast": measured([sys.executable, __file__, "--score", *map(str, files)]),
        }
        if args.peer:
            report["cell_eval"] = measured([str(args.peer), "-c", PEER, *map(str, files)])
            report["cpu_ratio"] = report["pertcast"]["cpu_s"] / report["cell_eval"]["cpu_s"]
            report["memory_ratio"] = report["pertcast"]["peak_gb"] / report["cell_eval"]["peak_gb"]
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
