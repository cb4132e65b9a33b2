"""Train and evaluate refuse what the auditor finds, and the commands say so; what was fitted is on record."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pertcast.training.bundle import load_bundle_files
from pertcast.training.bundle_manifest import MANIFEST, read_manifest, sealed
from pertcast.training.files import write_json
from pertcast_data.errors import LeakageError
from pertcast_data.splits import FittedOn, Split, row_hash
from pertcast_data.store import ExpressionStore
from pertcast_jobs.cli import run as pertcast
from pertcast_jobs.evaluate import evaluate_run
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train import run_training


@pytest.fixture(scope="module")
def finished(small_screen: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    run_training(
        load_config("response_mlp", [*small_screen.overrides, "train.epochs=1", "train.batch_size=64"]), out
    )
    return out


@pytest.fixture
def leaking(small_screen: Any, tmp_path: Path) -> Path:
    """The screen's split with one tested condition moved into training."""
    split = Split.load(small_screen.split)
    fold = split.folds[0]
    moved = fold.model_copy(update={"train": (*fold.train, fold.test[0]), "test": fold.test[1:]})
    path = tmp_path / "leaking.json"
    split.model_copy(update={"folds": (moved, *split.folds[1:])}).save(path)
    return path


def test_train_refuses_a_leaking_manifest_and_leaves_nothing(
    small_screen: Any, leaking: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "response_mlp", f"data.store={small_screen.store}", f"data.split={leaking}"]
    assert pertcast([*words, "--out", str(tmp_path / "run")]) == 1
    told = capsys.readouterr().err
    assert "fold 0 of the unseen_compound split leaks a held-out group" in told and "data split" in told
    assert not (tmp_path / "run").exists()


def test_audit_lists_what_leaks_and_ends_with_1(
    small_screen: Any, leaking: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pertcast(["data", "audit", str(small_screen.split), str(small_screen.store)]) == 0
    assert capsys.readouterr().out.startswith("Clean: nothing held out is trained on")
    assert pertcast(["data", "audit", str(leaking), str(small_screen.store), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert not told["is_clean"] and len(told["folds"]) == 4
    assert [finding["check"] for finding in told["folds"][0]["findings"]] == ["held_out_group"]
    assert pertcast(["data", "audit", str(leaking), str(small_screen.store), "--fold", "1"]) == 0
    assert "fold 1 of" in capsys.readouterr().out
    assert pertcast(["data", "audit", "--help"]) == 0
    assert "Example: pertcast data audit " in capsys.readouterr().out


def test_a_split_is_audited_as_it_is_made(small_screen: Any, tmp_path: Path, capsys: Any) -> None:
    words = ["data", "split", str(small_screen.store), "--kind", "unseen_scaffold", "--folds", "3"]
    out = tmp_path / "split.json"
    assert pertcast([*words, "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == []
    side = small_screen.store.with_name("store.preprocessing.yaml")
    side.write_text("preprocessing: [{step: hvg, fitted_on: all}]", encoding="utf-8")
    try:
        assert pertcast([*words, "--out", str(tmp_path / "other.json")]) == 1
    finally:
        side.unlink()
    assert "'hvg' was fitted on all profiles" in capsys.readouterr().err
    assert not (tmp_path / "other.json").exists()
    assert pertcast([*words, "--out", str(out), "--controls", "apart"]) == 2
    assert "Did you mean separate?" in capsys.readouterr().err


def test_a_bundle_says_what_was_fitted_on_which_rows(finished: Path, small_screen: Any) -> None:
    store, split = ExpressionStore.open(small_screen.store), Split.load(small_screen.split)
    facts = load_bundle_files(finished / "bundle").facts
    fitted = {each.name: each for each in map(FittedOn.model_validate, facts.fitted_on)}
    train = row_hash(split.rows(store, 0, "train"))
    assert {each.rows_hash for each in fitted.values() if each.part == "train"} == {train}
    assert fitted["basal profiles"].rows_hash == row_hash(np.flatnonzero(store.is_control))
    assert fitted["gene loadings"].part == fitted["model weights"].part == "train"


def reseal(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite the bundle's manifest as a program with a fault would have written it."""
    path = run / "bundle"
    content = read_manifest(path)
    change(content["facts"])
    write_json(path / MANIFEST, sealed(content))


def test_evaluate_refuses_a_model_that_was_fitted_on_held_out_rows(finished: Path, small_screen: Any) -> None:
    store, split = ExpressionStore.open(small_screen.store), Split.load(small_screen.split)
    before = read_manifest(finished / "bundle")["facts"]["fitted_on"]
    everything = FittedOn.of("gene loadings", "features", "train", np.flatnonzero(~store.is_control))

    def claim(facts: dict[str, Any]) -> None:
        facts["fitted_on"] = [*before[1:], everything.model_dump(mode="json")]

    reseal(finished, claim)
    try:
        with pytest.raises(LeakageError, match=r"gene loadings of .*those of the test among them"):
            evaluate_run(finished, n_draws=20)
    finally:
        reseal(finished, lambda facts: facts.update(fitted_on=before))
    assert split.data_hash == store.data_hash


def test_evaluate_refuses_another_manifest_and_reports_warnings(
    finished: Path, small_screen: Any, leaking: Path
) -> None:
    kept = small_screen.split.read_text(encoding="utf-8")
    small_screen.split.write_text(leaking.read_text(encoding="utf-8"), encoding="utf-8")
    try:
        with pytest.raises(LeakageError, match="was trained on other data"):
            evaluate_run(finished, n_draws=20)
    finally:
        small_screen.split.write_text(kept, encoding="utf-8")
    side = small_screen.store.with_name("store.preprocessing.yaml")
    side.write_text("preprocessing: [{step: hvg, fitted_on: train}]", encoding="utf-8")
    try:
        remarks = evaluate_run(finished, n_draws=20).trust.facts.remarks
    finally:
        side.unlink()
    assert any("'hvg' was fitted on the training profiles of some split" in remark for remark in remarks)
