"""Gene function of runs: asked for with a GMT file, refused where there is too little to judge."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pertcast.analysis.gene_sets import GeneSets
from pertcast_data.errors import SchemaError
from pertcast_data.splits import make_split
from pertcast_data.store import create_store
from pertcast_jobs.cli import run as pertcast
from pertcast_jobs.evaluate import Evaluation
from pertcast_jobs.evaluate.function import add_gene_function
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train import run_training

N_MODULES, SIZE = 6, 16
GENES = [f"GENE{i}" for i in range(N_MODULES * SIZE)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ridge trained on knock-downs of six modules, one line, two signatures a gene."""
    folder = tmp_path_factory.mktemp("function")
    random = np.random.default_rng(0)
    module = np.arange(len(GENES)) % N_MODULES
    shift = random.normal(size=(N_MODULES, len(GENES)))[module]
    values = np.repeat(shift, 2, axis=0) + random.normal(scale=0.7, size=(2 * len(GENES), len(GENES)))
    names = [name for name in GENES for _ in range(2)]
    obs = pl.DataFrame({"cell_iname": "A", "pert_type": "trt_sh", "pert_id": names, "targets": names})
    store = create_store(
        folder / "store", obs=obs, var=pl.DataFrame({"gene_symbol": GENES}),
        batches=[values.astype(np.float32)], measure="response", normalisation="z_score",
    )  # fmt: skip
    make_split(store, "unseen_perturbation").save(folder / "split.json")
    sets = [f"module {m}\t\t" + "\t".join(GENES[m::N_MODULES]) for m in range(N_MODULES)]
    (folder / "modules.gmt").write_text("\n".join(sets))
    pairs = [(a, b) for m in range(N_MODULES) for a, b in combinations(GENES[m::N_MODULES], 2)]
    (folder / "network.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in pairs))
    data = [
        f"encoder.gene_network={folder / 'network.tsv'}",
        f"data.store={folder / 'store'}",
        f"data.split={folder / 'split.json'}",
    ]
    run_training(
        load_config("response_mlp", [*data, "model.name=bilinear_ridge", "model.config={}"]), folder / "run"
    )
    return folder / "run"


def test_gene_function_stands_in_the_report_beside_what_else_could_tell_it(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gmt = run.parent / "modules.gmt"
    assert pertcast(["evaluate", str(run), "--gmt", str(gmt), "--draws", "100", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)["gene_function"]
    assert found["source"] == "modules.gmt"
    assert {"predicted", "measured", "strongest baseline", "features", "network features"} <= set(
        found["rows"]
    )
    assert {"degree", "shuffled"} <= set(found["rows"])
    assert found["rows"]["network features"]["low"] > 0.8
    measured, shuffled = found["rows"]["measured"], found["rows"]["shuffled"]
    assert measured["low"] > 0.8 > shuffled["high"]
    assert found["n_genes"] == len(GENES) // 4
    content = json.loads((run / "evaluation" / "trust.json").read_text())
    assert content["gene_function"] == found
    assert "Gene function" in (run / "evaluation" / "trust.html").read_text()


def test_a_file_of_gene_sets_is_read_before_anything_is_evaluated(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pertcast(["evaluate", str(run), "--gmt", str(tmp_path / "absent.gmt")]) == 2
    (tmp_path / "broken.gmt").write_text("no tabs")
    assert pertcast(["evaluate", str(run), "--gmt", str(tmp_path / "broken.gmt")]) == 1
    assert "a GMT line has a name" in capsys.readouterr().err


def test_without_predictions_to_compare_it_is_refused(run: Path) -> None:
    nothing = Evaluation("elsewhere", run, trust=None)  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="elsewhere keeps no predictions to compare"):
        add_gene_function([nothing], GeneSets({"set": tuple(GENES)}))
