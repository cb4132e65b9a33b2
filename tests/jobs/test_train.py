"""Training in this process: what a run leaves, what it refuses, and how it goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pertcast.training.bundle import build_model, find_bundle, load_bundle_files
from pertcast_data.errors import ConfigError, LeakageError
from pertcast_data.splits import Split
from pertcast_jobs.cli import run as pertcast
from pertcast_jobs.cli.train import fact_lines
from pertcast_jobs.run_config import RunConfig, load_config
from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.train import plan_training, run_training

QUICK = ["model.config.width=16", "model.config.depth=1", "model.config.basal_width=8"]
QUICK += [
    "train.batch_size=32",
    "train.epochs=4",
    "train.checkpoint_every_steps=5",
    "train.log_every_steps=1",
]


@pytest.fixture(scope="module")
def config(small_screen: Any) -> RunConfig:
    return load_config("response_mlp", [*small_screen.overrides, *QUICK])


@pytest.fixture(scope="module")
def finished(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    out = tmp_path_factory.mktemp("runs") / "run"
    run_training(config, out)
    return RunFolder.open(out)


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return load_bundle_files(find_bundle(run)).weights


def assert_equal_weights(one: Path, other: Path) -> None:
    first, second = weights_of(one), weights_of(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


class Killed(RuntimeError):
    """Stands for a process that died."""


def die_at(step: int) -> Any:
    def progress(done: int, total: int, note: str = "") -> None:
        if done >= step:
            raise Killed

    return progress


def test_a_run_leaves_configuration_facts_curves_and_bundle(finished: RunFolder, config: RunConfig) -> None:
    manifest = finished.manifest()
    assert manifest.status == "done"
    assert manifest.split_hash == Split.load(config.data.split).hash
    assert manifest.result["global_step"] == plan_training(config)["steps"]
    assert finished.config() == config.with_absolute_paths()
    lines = [json.loads(line) for line in finished.metrics_path.read_text().splitlines()]
    assert {line["kind"] for line in lines} == {"steps", "validation"}
    assert list(finished.tensorboard_path.iterdir())


def test_the_bundle_holds_what_was_trained_on(finished: RunFolder, config: RunConfig) -> None:
    files = load_bundle_files(finished.bundle_path)
    split = Split.load(config.data.split)
    assert files.facts.data_hash == split.data_hash
    assert files.facts.split_kind == "unseen_compound"
    assert files.facts.metrics["validation_loss"] == pytest.approx(
        finished.manifest().result["validation"]["loss"]
    )
    held_out = {name.split("|")[2] for name in (*split.folds[0].test, *split.folds[0].validation)}
    assert held_out.isdisjoint(files.space.perturbations)
    assert build_model(files).config.model_dump()["width"] == 16


def test_the_same_seed_gives_the_same_weights_and_another_does_not(
    finished: RunFolder, config: RunConfig, tmp_path: Path
) -> None:
    run_training(config, tmp_path / "again")
    assert_equal_weights(finished.path, tmp_path / "again")
    other = config.model_copy(update={"train": config.train.model_copy(update={"seed": 1})})
    run_training(other, tmp_path / "other")
    before, after = weights_of(finished.path), weights_of(tmp_path / "other")
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_a_run_that_died_continues_to_the_same_weights(
    finished: RunFolder, config: RunConfig, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with pytest.raises(Killed):
        run_training(config, out, progress=die_at(13))
    assert not RunFolder.open(out).is_done
    with pytest.raises(ConfigError, match="--resume"):
        find_bundle(out)
    steps: list[int] = []
    run_training(config, out, resume=True, progress=lambda done, total, note="": steps.append(done))
    assert min(steps) > 5
    assert_equal_weights(finished.path, out)


def test_an_existing_run_is_refused_without_resume(finished: RunFolder, config: RunConfig) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")}
    with pytest.raises(ConfigError, match="Continue it with --resume"):
        run_training(config, finished.path)
    assert {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")} == before


def test_resuming_a_run_that_is_done_changes_nothing(finished: RunFolder, config: RunConfig) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")}
    outcome = run_training(config, finished.path, resume=True)
    assert outcome.bundle == finished.bundle_path
    assert {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")} == before


def test_resuming_another_training_names_what_differs(finished: RunFolder, config: RunConfig) -> None:
    other = config.model_copy(update={"train": config.train.model_copy(update={"seed": 5})})
    with pytest.raises(ConfigError, match=r"train\.seed \(0 before, 5 now\)"):
        run_training(other, finished.path, resume=True)


def test_resume_begins_a_run_that_is_not_there(config: RunConfig, tmp_path: Path) -> None:
    baseline = config.model_copy(update={"model": load_config("response_mlp").model})
    quick = baseline.model_copy(update={"model": type(config.model)(name="train_mean")})
    outcome = run_training(quick, tmp_path / "new", resume=True)
    assert load_bundle_files(outcome.bundle).model_name == "train_mean"


def test_a_split_of_another_store_is_refused_and_leaves_nothing(config: RunConfig, tmp_path: Path) -> None:
    split = Split.load(config.data.split)
    split.model_copy(update={"data_hash": "other"}).save(tmp_path / "other.json")
    data = config.data.model_copy(update={"split": tmp_path / "other.json"})
    with pytest.raises(LeakageError, match="made for data other"):
        run_training(config.model_copy(update={"data": data}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_gpu_that_is_not_there_is_refused(config: RunConfig, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    cluster = config.cluster.model_copy(update={"use_gpu": True})
    with pytest.raises(ConfigError, match=r"cluster\.use_gpu=false"):
        run_training(config.model_copy(update={"cluster": cluster}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_plan_counts_what_the_split_holds(config: RunConfig) -> None:
    plan, fold = plan_training(config), Split.load(config.data.split).folds[0]
    assert plan["conditions"] == {part: len(getattr(fold, part)) for part in ("train", "validation", "test")}
    assert plan["genes"] == 60
    assert plan["memory_bytes_per_worker"] > 4 * plan["parameters"]


def test_the_command_trains_and_prints_where_the_bundle_is(
    small_screen: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "response_mlp", *small_screen.overrides, *QUICK, "train.epochs=1"]
    assert pertcast([*words, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["workers"] == 1
    out = tmp_path / "run"
    assert pertcast([*words, "--out", str(out), "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["bundle"] == str(out / "bundle")
    assert "ETA" in printed.err or "steps" in printed.err
    assert pertcast([*words, "--out", str(out)]) == 1
    assert "--resume" in capsys.readouterr().err


def test_the_command_needs_a_folder(small_screen: Any) -> None:
    assert pertcast(["train", "response_mlp", *small_screen.overrides]) == 2


def test_show_prints_what_deepspeed_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["config", "show", "response_mlp", "train.engine={name: deepspeed, zero_stage: 2}"]
    assert pertcast(words) == 0
    shown = capsys.readouterr().out
    assert "zero_stage: 2" in shown
    assert "# DeepSpeed is initialised with (1 worker):" in shown
    assert pertcast([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["deepspeed"]["zero_optimization"]["stage"] == 2


def test_what_show_prints_is_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pertcast(["config", "show", "response_mlp", "train.engine.name=deepspeed"]) == 0
    shown = tmp_path / "shown.yaml"
    shown.write_text(capsys.readouterr().out)
    assert load_config(shown) == load_config("response_mlp", ["train.engine.name=deepspeed"])


def test_schema_describes_the_models_own_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert pertcast(["config", "schema", "response_mlp", "--json"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert "dropout" in schema["$defs"]["ModelSection"]["properties"]["config"]["properties"]


def test_validate_says_valid_or_names_the_problem(capsys: pytest.CaptureFixture[str]) -> None:
    assert pertcast(["config", "validate", "response_mlp_sweep"]) == 0
    assert "valid sweep of response_mlp" in capsys.readouterr().out
    assert pertcast(["config", "validate", "response_mlp", "train.sede=1"]) == 1
    assert "train.seed" in capsys.readouterr().err


def test_what_a_stage_found_out_is_printed_by_name_and_value() -> None:
    stages = [
        {"name": "scaling", "facts": {}},
        {"name": "latent_scale", "facts": {"active_dimensions": 64.0, "reconstruction_r2": 0.55145}},
    ]
    (line,) = fact_lines({"stages": stages})
    assert line.split(maxsplit=2) == ["latent", "scale", "active dimensions 64, reconstruction R2 0.551"]
    assert fact_lines({}) == []
