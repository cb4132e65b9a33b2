"""What a trial is worth and what it cost, without Ray running."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pertcast_data.errors import ConfigError
from pertcast_data.splits import Split
from pertcast_jobs.run_config import SweepConfig, dump_config, load_config, load_sweep
from pertcast_jobs.train import run_training
from pertcast_jobs.tune import run_sweep
from pertcast_jobs.tune.baselines import BASELINES_FILE, baselines_of
from pertcast_jobs.tune.records import Records, TrialRecord
from pertcast_jobs.tune.score import scored

SPACE = "space={train.seed: {int: [0, 3]}}"
QUICK = ["model.config.depth=1", "model.config.width=16", "train.batch_size=32"]


@pytest.fixture(scope="module")
def sweep(small_screen: Any) -> SweepConfig:
    return load_sweep("response_mlp_sweep", [*small_screen.overrides, SPACE])


@pytest.fixture(scope="module")
def sweep_folder(sweep: SweepConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sweep")
    baselines_of(sweep, out)
    return out


def trained(small_screen: Any, model: str, out: Path, *words: str) -> Any:
    return run_training(load_config(model, [*small_screen.overrides, *words]), out)


def without(split: Split, part: str) -> Split:
    """Return the split with an empty part of its first fold."""
    first = split.folds[0].model_copy(update={part: ()})
    return split.model_copy(update={"folds": (first, *split.folds[1:])})


def test_baselines_are_scored_once_on_the_validation_conditions(
    sweep: SweepConfig, sweep_folder: Path, small_screen: Any
) -> None:
    found = json.loads((sweep_folder / BASELINES_FILE).read_text())
    parts = Split.load(small_screen.split).folds[0]
    assert set(found["condition_id"]) <= set(parts.validation)
    assert not set(found["condition_id"]) & set(parts.test)
    assert found["means"][found["best"]] == max(found["means"].values())
    for name, scores in found["scores"].items():
        values = [0.0 if value is None else value for value in scores]
        assert np.mean(values) == pytest.approx(found["means"][name])
    before = (sweep_folder / BASELINES_FILE).stat().st_mtime_ns
    assert baselines_of(sweep, sweep_folder).best == found["best"]
    assert (sweep_folder / BASELINES_FILE).stat().st_mtime_ns == before


def test_a_run_that_is_the_best_baseline_has_no_advantage(
    sweep_folder: Path, small_screen: Any, tmp_path: Path
) -> None:
    best = json.loads((sweep_folder / BASELINES_FILE).read_text())["best"]
    (tmp_path / "config.yaml").write_text(f"model: {{name: {best}}}\n")
    found = scored(trained(small_screen, str(tmp_path / "config.yaml"), tmp_path / "run"), sweep_folder)
    assert found["advantage"] == pytest.approx(0.0, abs=1e-6)
    assert found["score"] == pytest.approx(found["baseline_score"])
    assert found["cost"] == 0.0


def test_advantage_is_the_score_above_the_best_baselines_and_is_kept(
    sweep_folder: Path, small_screen: Any, tmp_path: Path
) -> None:
    outcome = trained(small_screen, "response_mlp", tmp_path / "run", *QUICK, "train.epochs=2")
    found = scored(outcome, sweep_folder)
    assert found["advantage"] == pytest.approx(found["score"] - found["baseline_score"], abs=1e-6)
    assert found["advantage_low"] <= found["advantage"] <= found["advantage_high"]
    assert found["validation_loss"] == outcome.validation["loss"]
    (sweep_folder / BASELINES_FILE).rename(tmp_path / "moved")
    assert scored(outcome, sweep_folder) == found
    (tmp_path / "moved").rename(sweep_folder / BASELINES_FILE)


def test_the_test_conditions_have_no_part_in_it(
    sweep_folder: Path, small_screen: Any, tmp_path: Path
) -> None:
    outcome = trained(small_screen, "response_mlp", tmp_path / "run", *QUICK, "train.epochs=1")
    found = scored(outcome, sweep_folder)
    (outcome.run / "score.json").unlink()
    whole = Split.load(small_screen.split)
    try:
        without(whole, "test").save(small_screen.split)
        assert Split.load(small_screen.split).folds[0].test == ()
        again = scored(outcome, sweep_folder)
    finally:
        whole.save(small_screen.split)
    assert again == found


def test_cost_counts_the_operations_of_the_rows_trained_on(
    sweep_folder: Path, small_screen: Any, tmp_path: Path
) -> None:
    costs = {}
    for name, words in {
        "one": ["train.epochs=1"],
        "again": ["train.epochs=1"],
        "two": ["train.epochs=2"],
        "parts": ["train.epochs=2", "train.accumulate=2"],
        "wide": ["train.epochs=1", "model.config.width=64"],
    }.items():
        outcome = trained(
            small_screen, "response_mlp", tmp_path / name, *QUICK, "train.patience=null", *words
        )
        found = scored(outcome, sweep_folder)
        assert found["cost_is_counted"] == 1.0
        costs[name] = found["cost"]
    assert costs["one"] == costs["again"] > 0
    assert costs["two"] == costs["parts"] == 2 * costs["one"]
    assert costs["wide"] > 1.5 * costs["one"]


def test_a_split_without_validation_conditions_is_refused(
    sweep: SweepConfig, small_screen: Any, tmp_path: Path
) -> None:
    without(Split.load(small_screen.split), "validation").save(tmp_path / "split.json")
    data = sweep.data.model_copy(update={"split": tmp_path / "split.json"})
    with pytest.raises(ConfigError, match="has 0 validation conditions"):
        baselines_of(sweep.model_copy(update={"data": data}), tmp_path)


def test_a_record_that_cannot_be_read_names_its_file_and_the_remedy(tmp_path: Path) -> None:
    records = Records(tmp_path)
    record = TrialRecord(3, {"train.seed": 7, "model.config.dropout": 0.1 + 0.2})
    records.write(record)
    assert records.read(3) == record
    assert records.read(4) is None
    path = tmp_path / "records" / "003.json"
    path.write_text(path.read_text()[:20])
    with pytest.raises(ConfigError, match=r"003\.json cannot be read.*remove it with .*trials/003"):
        records.read(3)


def test_a_sweep_of_an_older_version_is_refused_with_the_command_that_mends_it(
    sweep: SweepConfig, tmp_path: Path
) -> None:
    out = tmp_path / "a sweep"
    (out / "trials" / "001").mkdir(parents=True)
    records = Records(out)
    found = {"advantage": 0.1, "advantage_low": 0.0, "advantage_high": 0.2, "cost": 3.0}
    record = TrialRecord(0, {"train.seed": 1}, "done", found)
    records.write(record)
    score = out / "trials" / "001" / "score.json"
    score.write_text(json.dumps({"metric": "pearson_delta", "metrics": found}))
    mine = sweep.with_absolute_paths()
    (out / "sweep.yaml").write_text(dump_config(mine))
    files = [out / "sweep.yaml", out / "records" / "000.json", score]
    present = [file.read_text() for file in files]
    for file in files:
        file.write_text(file.read_text().replace("advantage", "skill"))
    with pytest.raises(ConfigError, match="called `skill` what is `advantage` now") as refused:
        run_sweep(mine, out, resume=True)
    command = str(refused.value).partition("continue: ")[2]
    subprocess.run(command, shell=True, check=True)
    assert [file.read_text() for file in files] == present
    assert load_sweep(out / "sweep.yaml") == mine
    assert records.read(0) == record
