"""multiplex_network from simulated signatures and networks to its report and a screen of every gene."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pertcast.encoding import network_features
from pertcast.models.multiplex_network.integration.integrated import Integrated
from pertcast_data.errors import FormatError
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, simulate_atlas, write_atlas
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.cli import run as pertcast
from pertcast_jobs.run_config import RunConfig, load_config
from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.train import run_training
from pertcast_jobs.train.many import train_many

SIZES = {
    "n_genes": 120, "n_signature_genes": 60, "n_landmarks": 80, "n_contexts": 1, "n_compounds": 8,
    "n_unprofiled": 0, "n_plates": 1, "n_knockouts": 2, "n_pairs": 1, "n_cells": 100,
}  # fmt: skip
NETWORKS = ("complexes", "pathways", "protein_interactions")
QUICK = [
    "encoder.gene_network_components=16",
    "model.config.process.tuning_steps=8",
    "model.config.attention.epochs=2",
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an atlas, its signatures as a store, a split of genes, and a finished run."""
    folder = tmp_path_factory.mktemp("multiplex")
    files = write_atlas(simulate_atlas(AtlasConfig(regime="network", seed=1, **SIZES)), folder / "atlas")
    ingest([files.signatures], folder / "store")
    make_split(ExpressionStore.open(folder / "store"), "unseen_perturbation", seed=1).save(
        folder / "split.json"
    )
    run_training(config_of(folder), folder / "run")
    return folder


def config_of(folder: Path, *overrides: str) -> RunConfig:
    networks = ",".join(str(folder / "atlas" / "networks" / f"{name}.tsv") for name in NETWORKS)
    files = [
        f"data.store={folder / 'store'}",
        f"data.split={folder / 'split.json'}",
        f"encoder.gene_network=[{networks}]",
        "encoder.gene_network_components=16",
    ]
    return load_config("multiplex_network", [*files, *overrides])


def test_stages_say_how_types_are_coupled_and_what_left_out_genes_bear_out(root: Path) -> None:
    stages = {stage["name"]: stage for stage in RunFolder.open(root / "run").manifest().result["stages"]}
    assert list(stages) == ["response", "cross_type"]
    facts = stages["response"]["facts"]
    assert {"coupling_trt_oe_trt_sh", "left_out_r2_trt_xpr", "own_gene_shift_trt_sh"} <= facts.keys()
    assert facts["own_gene_shift_trt_xpr"] < -1 < facts["left_out_r2"] < 1


def test_a_screen_reaches_genes_of_the_networks_that_nothing_measured(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = root / "screen"
    words = ["screen", "genes", "--model", str(root / "run"), "--out", str(out), "--executor", "in-process"]
    assert pertcast([*words, "--pert-types", "trt_sh,trt_xpr,trt_oe", "--json"]) == 0
    known = json.loads(capsys.readouterr().out)
    told = pl.read_parquet(out / "sig_info.parquet")
    assert known["profiles"] == told.height == 3 * told["pert_id"].n_unique()
    store = ExpressionStore.open(root / "store")
    outside = set(told["pert_id"]) - set(store.genes) - set(store.conditions["pert_id"])
    assert outside and set(told["pert_type"]) == {"trt_sh", "trt_xpr", "trt_oe"}
    assert told.filter(pl.col("pert_id").is_in(list(outside)))["seen_pert"].any() is False


def test_a_gene_of_no_network_is_refused_with_its_nearest_names(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "asked.csv").write_text("pert_id\nSIMG99999\n")
    words = ["screen", "genes", str(tmp_path / "asked.csv"), "--model", str(root / "run")]
    assert pertcast([*words, "--out", str(tmp_path / "out"), "--executor", "in-process"]) == 1
    said = capsys.readouterr().err
    assert "Unknown gene 'SIMG99999'" in said and "Nearest known: SIMG" in said
    assert not (tmp_path / "out").exists()


def test_the_report_judges_every_type_by_its_own_mean(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pertcast(["evaluate", str(root / "run"), "--no-biology", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    trust = json.loads((root / "run" / "evaluation" / "trust.json").read_text())
    assert found and "by_type" in trust
    assert "ridge_own_gene" in json.dumps(trust)


def test_folds_share_integrated_networks_and_a_damaged_one_is_named(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    integrate, methods = network_features.integrate, []

    def counted(*parts: Any, **named: Any) -> Integrated:
        methods.append(parts[2].method)
        return integrate(*parts, **named)

    monkeypatch.setattr(network_features, "integrate", counted)
    outcome = train_many(config_of(root, "model.name=bilinear_ridge"), root / "folds", [0, 1], [0])
    assert len(outcome.trained) == 2 and methods == ["random_walk"]
    (kept,) = (root / "folds" / "networks").iterdir()
    kept.write_bytes(b"not a tensor")
    spec = config_of(root, f"encoder.gene_network_cache={kept.parent}").encoder
    with pytest.raises(FormatError, match=r"is damaged.*Remove it"):
        network_features.network_features(spec)
