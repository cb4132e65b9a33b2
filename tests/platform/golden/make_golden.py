"""Golden values of parity: what cell-eval says of the files of `parity_files.py`.

cell-eval is no dependency of this project. In an environment of its own (python -m venv; pip install
"cell-eval==0.8.2"), from the root of the repository:

    python tests/platform/golden/make_golden.py --real shared/data/perturb_seq/norman_mcfaline_devel.h5ad
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anndata as ad
from cell_eval import MetricsEvaluator

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

import parity_files  # noqa: E402

LEFT_OUT = ["clustering_agreement"]
"""Depends on the seed of a community search; nothing here corresponds to it."""


def plain(value: Any) -> float | None:
    return float(f"{value:.12g}") if value is not None and math.isfinite(value) else None


def golden(name: str, prediction: Path, truth: Path, folder: Path) -> dict[str, Any]:
    evaluator = MetricsEvaluator(
        adata_pred=ad.read_h5ad(prediction),
        adata_real=ad.read_h5ad(truth),
        control_pert=parity_files.CONTROL,
        pert_col=parity_files.COLUMN,
        num_threads=1,
        outdir=str(folder / name),
    )
    results, _ = evaluator.compute(profile="full", skip_metrics=LEFT_OUT, write_csv=False)
    results = results.sort("perturbation")
    columns = [column for column in sorted(results.columns) if column != "perturbation"]
    return {
        "cell_eval": version("cell-eval"),
        "pdex": version("pdex"),
        "case": name,
        "perturbations": results["perturbation"].to_list(),
        "metrics": {column: [plain(value) for value in results[column].to_list()] for column in columns},
    }


def tests_of_truth(folder: Path, name: str) -> dict[str, Any]:
    """Return q values and log2 fold changes that were computed for the truth, by perturbation and gene."""
    import polars as pl

    table = pl.read_csv(folder / name / "real_de.csv").sort("target", "feature")
    return {
        "feature": table["feature"].unique().sort().to_list(),
        "fdr": {
            str(target[0]): [plain(v) for v in part["fdr"]]
            for target, part in table.group_by("target", maintain_order=True)
        },
        "statistic": {
            str(target[0]): [plain(v) for v in part["statistic"]]
            for target, part in table.group_by("target", maintain_order=True)
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, help=f"the real file, {parity_files.REAL_FILE}")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        cases = {case.__name__: case(folder) for case in (
            parity_files.generated, parity_files.counts, parity_files.other_controls, parity_files.pairs
        )}  # fmt: skip
        if chosen.real is not None:
            cases["real"] = parity_files.real(folder, chosen.real)
        for name, (prediction, truth) in cases.items():
            content = golden(name, prediction, truth, folder)
            if name == "generated":
                content["tests_of_truth"] = tests_of_truth(folder, name)
            (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
            print(
                f"{name}: {len(content['metrics'])} metrics of {len(content['perturbations'])} perturbations"
            )


if __name__ == "__main__":
    main()
