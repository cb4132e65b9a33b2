"""`pertcast train --replay`: the same run again is the same bit for bit, and what is not is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from pertcast.training.bundle_manifest import MANIFEST, file_record, read_manifest, sealed
from pertcast.training.files import write_json
from pertcast_data.errors import ConfigError, CorruptBundle
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, simulate_atlas, write_atlas
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.cli import run as pertcast
from pertcast_jobs.environment import environment_hash
from pertcast_jobs.run_config import load_config
from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.train import run_training
from pertcast_jobs.train.replay import Replay, deviation, replay_run
from safetensors.torch import load_file, save_file

QUICK = ["model.config.width=16", "model.config.depth=1", "model.config.basal_width=8"]
QUICK += ["train.batch_size=32", "train.epochs=2", "train.log_every_steps=4", "train.patience=null"]


ATLAS = AtlasConfig(
    n_genes=60,
    n_contexts=1,
    n_compounds=8,
    n_unprofiled=1,
    doses=(1.0,),
    times=(24.0,),
    n_plates=2,
    n_knockouts=2,
    n_pairs=0,
    n_cells=100,
)


@pytest.fixture(scope="module")
def recorded(small_screen: Any, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    out = tmp_path_factory.mktemp("runs") / "first"
    run_training(load_config("response_mlp", [*small_screen.overrides, *QUICK]), out)
    return RunFolder.open(out)


@pytest.fixture
def copied(recorded: RunFolder, tmp_path: Path) -> RunFolder:
    shutil.copytree(recorded.path, tmp_path / "first")
    return RunFolder.open(tmp_path / "first")


def test_a_replay_is_equal_bit_for_bit_wherever_the_store_lies_now(
    copied: RunFolder, small_screen: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(small_screen.store, moved)
    assert pertcast(["train", "--replay", str(copied.path), f"data.store={moved}"]) == 0
    said = capsys.readouterr().out
    assert "EQUAL" in said
    assert "bit for bit" in said
    assert "samples/s" in said
    record = json.loads((tmp_path / "first-replay" / "replay.json").read_text())
    assert record["verdict"] == "equal"
    assert record["tolerance"] == 0.0
    assert record["weights"]["bit_equal"]
    assert record["validation"]["loss"]["recorded"] == record["validation"]["loss"]["replay"]
    assert record["differences"] == []


def reseal_with(bundle: Path, change: float) -> None:
    """Alter one weight and every hash that would tell of it."""
    weights = bundle / "weights.safetensors"
    tensors = load_file(weights)
    name = next(name for name, value in sorted(tensors.items()) if value.dtype == torch.float32)
    tensors[name] = tensors[name].clone()
    tensors[name].view(-1)[0] += change * tensors[name].abs().max()
    save_file(tensors, weights)
    content = read_manifest(bundle)
    content["files"] = {**content["files"], weights.name: file_record(weights)}
    write_json(bundle / MANIFEST, sealed(content))


def test_a_bundle_that_was_altered_is_told(copied: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    reseal_with(copied.bundle_path, 0.01)
    assert pertcast(["train", "--replay", str(copied.path), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "different"
    assert told["weights"]["relative"] == pytest.approx(0.01, rel=0.05)
    assert not told["weights"]["bit_equal"]


def test_a_bundle_with_one_changed_byte_is_refused_before_training(copied: RunFolder, tmp_path: Path) -> None:
    weights = copied.bundle_path / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CorruptBundle):
        replay_run(copied.path)
    assert not (tmp_path / "first-replay").exists()


def test_another_environment_is_warned_of_and_a_small_deviation_allowed(copied: RunFolder) -> None:
    manifest = copied.manifest()
    packages = {**manifest.environment["packages"], "torch": "2.0.0"}
    before = {**manifest.environment, "packages": packages}
    elsewhere = {"environment": before, "environment_hash": environment_hash(before), "git_revision": "abc"}
    copied.write_manifest(manifest.model_copy(update=elsewhere))
    reseal_with(copied.bundle_path, 3e-5)
    replay: Replay = replay_run(copied.path)
    assert replay.is_equal
    assert replay.tolerance == 1e-4
    assert {each.name for each in replay.differences} == {"git_revision", "environment.packages.torch"}
    assert "EQUAL within 0.0001" in replay.verdict()


def test_a_store_of_other_content_is_refused_and_named(recorded: RunFolder, tmp_path: Path) -> None:
    files = write_atlas(simulate_atlas(ATLAS), tmp_path / "atlas")
    ingest([files.wells], tmp_path / "store")
    make_split(ExpressionStore.open(tmp_path / "store"), "unseen_compound").save(tmp_path / "split.json")
    overrides = [f"data.store={tmp_path / 'store'}", f"data.split={tmp_path / 'split.json'}"]
    with pytest.raises(ConfigError, match=r"the store's data .* before"):
        replay_run(recorded.path, tmp_path / "out", overrides)
    assert not (tmp_path / "out").exists()


def test_another_split_is_refused_and_named(recorded: RunFolder, small_screen: Any, tmp_path: Path) -> None:
    other = make_split(ExpressionStore.open(small_screen.store), "unseen_compound", seed=5)
    other.save(tmp_path / "other.json")
    with pytest.raises(ConfigError, match=r"the split .* before"):
        replay_run(recorded.path, tmp_path / "out", [f"data.split={tmp_path / 'other.json'}"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("override", "named"),
    [("train.seed=1", r"train\.seed"), ("train.precision=bf16", r"train\.precision")],
)
def test_settings_that_decide_numbers_cannot_be_overridden(
    recorded: RunFolder, tmp_path: Path, override: str, named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        replay_run(recorded.path, tmp_path / "out", [override])
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_not_done_is_refused(copied: RunFolder) -> None:
    copied.write_manifest(copied.manifest().model_copy(update={"status": "running"}))
    with pytest.raises(ConfigError, match="is not done"):
        replay_run(copied.path)


def test_a_dry_run_compares_facts_and_trains_nothing(
    copied: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pertcast(["train", "--replay", str(copied.path), "--dry-run"]) == 0
    assert f"{copied.manifest().data_hash}, as recorded" in capsys.readouterr().out
    assert not (tmp_path / "first-replay").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["response_mlp"], "leave out 'response_mlp'"),
        (["--seeds", "2"], "--seeds"),
        (["--ensemble", "2"], "--ensemble"),
    ],
)
def test_what_a_replay_brings_itself_is_a_usage_error(
    recorded: RunFolder, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pertcast(["train", *words, "--replay", str(recorded.path)]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_training_without_configuration_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert pertcast(["train", "--dry-run"]) == 2
    assert "name a configuration" in capsys.readouterr().err


def test_the_tensor_that_is_relatively_furthest_off_is_named() -> None:
    before = {"a": torch.tensor([1.0, 100.0]), "b": torch.tensor([1.0]), "n": torch.tensor(3)}
    now = {"a": torch.tensor([1.0, 101.0]), "b": torch.tensor([1.1]), "n": torch.tensor(3)}
    found = deviation(before, now)
    assert (found.tensor, found.bit_equal) == ("b", False)
    assert found.relative == pytest.approx(0.1)
    assert deviation(before, before).bit_equal
    assert deviation(before, {"a": before["a"]}).relative == float("inf")
    assert deviation({"z": torch.zeros(2)}, {"z": torch.ones(2)}).relative == float("inf")
