"""Training with a user's embedding table: its coverage is printed and kept, its folder is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pertcast.training.bundle import find_bundle, load_bundle_files
from pertcast_data.errors import ConfigError
from pertcast_data.store import ExpressionStore
from pertcast_jobs.cli import run as pertcast
from pertcast_jobs.run_folder import RunFolder


@pytest.fixture(scope="module")
def table(small_screen: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Embeddings of all compounds of the small screen but the last."""
    compounds = ExpressionStore.open(small_screen.store).conditions.filter(pl.col("pert_type") == "trt_cp")
    keys = compounds.select("pert_id", "canonical_smiles").unique().sort("pert_id")[:-1]
    values = np.random.default_rng(0).normal(size=(keys.height, 5))
    path = tmp_path_factory.mktemp("tables") / "molformer.csv"
    keys.with_columns(pl.Series(f"e{i}", values[:, i]) for i in range(5)).write_csv(path)
    return path


def words(
    small_screen: Any, table: Path, features: str = "both", model: str = "fingerprint_ridge"
) -> list[str]:
    chosen = [f"encoder.compound_features={features}", f"encoder.compound_embedding={table}"]
    return ["train", "response_mlp", f"model.name={model}", *small_screen.overrides, *chosen]


def test_coverage_is_printed_by_the_dry_run_and_by_the_training_and_kept_in_the_run(
    small_screen: Any, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = words(small_screen, table)
    assert pertcast([*asked, "--dry-run"]) == 0
    planned = capsys.readouterr().out
    assert pertcast([*asked, "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    run = RunFolder.open(tmp_path / "run")
    coverage = run.manifest().compound_embedding
    assert coverage is not None and (coverage.n_store, coverage.n_store_found) == (16, 15)
    assert coverage.text() in planned and coverage.text() in printed
    assert "molformer.csv: 15 of 16 compounds of the store" in printed
    bundle = load_bundle_files(find_bundle(run.path))
    assert bundle.encoder_state[0]["embedding"]["sha256"] == coverage.sha256
    kept = bundle.facts.training["config"]["encoder"]["compound_embedding"]
    assert kept == "molformer.csv" and str(table.parent) not in json.dumps(bundle.encoder_state[0])
    assert run.config().encoder.compound_embedding == table


def test_a_run_goes_on_with_the_table_elsewhere_but_not_with_another_one(
    small_screen: Any, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["--out", str(tmp_path / "run"), "--resume"]
    assert pertcast([*words(small_screen, table), *run]) == 0
    moved = tmp_path / "elsewhere.csv"
    moved.write_bytes(table.read_bytes())
    assert pertcast([*words(small_screen, moved), *run]) == 0
    moved.write_text(table.read_text().replace("e4", "e5"))
    assert pertcast([*words(small_screen, moved), *run]) == 1
    assert "the embedding table's content" in capsys.readouterr().err


def test_embedding_alone_names_training_compounds_without_a_row(
    small_screen: Any, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fewer = tmp_path / "fewer.csv"
    fewer.write_text("".join(table.read_text().splitlines(keepends=True)[:6]))
    assert pertcast([*words(small_screen, fewer, "embedding"), "--dry-run"]) == 1
    error = capsys.readouterr().err
    assert "fewer.csv has no row for" in error and "encoder.compound_features=both" in error


@pytest.mark.parametrize("model", ["fingerprint_ridge", "bilinear_ridge", "knn"])
def test_models_are_trained_and_evaluated_on_embeddings(
    model: str, small_screen: Any, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert pertcast([*words(small_screen, table, "both", model), "--out", str(run)]) == 0
    assert pertcast(["evaluate", str(run), "--draws", "100"]) == 0
    assert "Verdict" in capsys.readouterr().out


def test_an_unknown_key_beside_the_table_is_an_error(small_screen: Any, table: Path) -> None:
    from pertcast_jobs.run_config import load_config

    with pytest.raises(ConfigError, match=r"unknown key encoder\.compound_embeding.*compound_embedding"):
        load_config("response_mlp", [f"encoder.compound_embeding={table}"])
