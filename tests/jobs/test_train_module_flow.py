"""module_flow from a simulated screen to its report: files of gene features, modules, epistasis, resuming."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pertcast.predictor import Predictor
from pertcast_data.errors import ConfigError, PertcastError
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, simulate_atlas, write_atlas
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.cli import run as pertcast
from pertcast_jobs.run_config import RunConfig, load_config
from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.train import plan_training, run_training

SIZES = {
    "n_genes": 100,
    "n_compounds": 8,
    "n_unprofiled": 0,
    "n_knockouts": 16,
    "n_pairs": 24,
    "n_cells": 1200,
}
QUICK = [
    "model.config.autoencoder.latent_dim=12", "model.config.flow.width=32", "model.config.flow.depth=1",
    "model.config.flow.cells_per_condition=16", "model.config.flow.epochs=1",
    "model.config.grouping.n_modules=8", "model.config.alignment.every=2", "train.batch_size=128",
]  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an atlas, its single cells as a store, a split of pairs, and a finished run."""
    folder = tmp_path_factory.mktemp("flow")
    files = write_atlas(simulate_atlas(AtlasConfig(regime="epistatic", seed=1, **SIZES)), folder / "atlas")
    ingest([files.cells], folder / "store")
    make_split(ExpressionStore.open(folder / "store"), "unseen_pair", seed=1).save(folder / "split.json")
    run_training(config_of(folder), folder / "run")
    return folder


def config_of(folder: Path, *overrides: str) -> RunConfig:
    files = [
        f"data.store={folder / 'store'}",
        f"data.split={folder / 'split.json'}",
        f"encoder.gene_network={folder / 'atlas' / 'networks' / 'coexpression.tsv'}",
        f"encoder.gene_sets={folder / 'atlas' / 'gene_sets.gmt'}",
    ]
    return load_config("module_flow", [*files, *QUICK, *overrides])


def test_a_run_says_what_its_network_knows(root: Path) -> None:
    (known,) = RunFolder.open(root / "run").manifest().gene_features
    assert known.source == "network" and known.files == ("coexpression.tsv",)
    assert 0 < known.n_store_found <= known.n_store == 100
    (planned,) = plan_training(config_of(root))["gene_features"]
    assert planned["text"].startswith("gene network coexpression.tsv")


def test_stages_say_what_is_predicted_of_left_out_perturbations(root: Path) -> None:
    stages = {stage["name"]: stage for stage in RunFolder.open(root / "run").manifest().result["stages"]}
    assert -1 < stages["displacement"]["facts"]["left_out_effect_r2"] < 1
    assert stages["own_gene"]["facts"]["own_genes_measured"] > 0
    assert {"scaling", "components", "latent_scale", "spread", "populations", "flow"} <= stages.keys()


def test_a_network_of_another_content_is_another_training(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "coexpression.tsv"
    lines = (root / "atlas" / "networks" / "coexpression.tsv").read_text().splitlines()
    other.write_text("\n".join(lines[:-5]) + "\n")
    changed = config_of(root, f"encoder.gene_network={other}")
    with pytest.raises(ConfigError, match="files of gene features"):
        run_training(changed, root / "run", resume=True)


@pytest.mark.parametrize("option", ["encoder.gene_network", "encoder.gene_sets"])
def test_a_bad_file_of_genes_is_named_before_a_run_begins(
    small_screen: Any, tmp_path: Path, option: str
) -> None:
    """In a store of compounds too, where no perturbation has a gene's features."""
    bad = tmp_path / "bad.txt"
    bad.write_text("A\tB\t0.5\nA\tC\t0.4\nC\tD\toops\n")
    config = load_config("module_flow", [*small_screen.overrides, f"{option}={bad}"])
    with pytest.raises(PertcastError, match=r"bad\.txt"):
        run_training(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_report_shows_the_pairs_epistasis_and_the_modules_in_their_network(root: Path) -> None:
    assert pertcast(["evaluate", str(root / "run"), "--draws", "100"]) == 0
    evaluation = root / "run" / "evaluation"
    content: dict[str, Any] = json.loads((evaluation / "biology.json").read_text())
    assert content["epistasis"] is not None
    assert content["gene_modules"]["modules"]
    modules = (evaluation / "modules.gmt").read_text().splitlines()
    assert len(modules) == 8
    assert "z not computed" not in modules[0]


def test_pairs_never_measured_are_predicted_in_any_order_and_strangers_refused(root: Path) -> None:
    predictor = Predictor.from_bundle(root / "run" / "bundle")
    first, second = predictor.encoder.space.perturbations[:2]
    table = pl.DataFrame(
        {
            "cell_iname": [predictor.encoder.space.contexts[0]] * 2,
            "pert_type": ["trt_xpr"] * 2,
            "pert_id": [f"{first}+{second}", f"{second}+{first}"],
            "pert_time": [168.0] * 2,
        }
    )
    found = predictor.predict(table)
    assert abs(found.mean[0] - found.mean[1]).max() < 1e-4
    assert abs(found.mean[0]).max() > 0.01
    with pytest.raises(PertcastError, match="NOSUCHGENE"):
        predictor.predict(table.with_columns(pert_id=pl.lit("NOSUCHGENE")))
