"""Checkpoints appear whole, are verified, and the newest good one is chosen."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from pathlib import Path

import pytest
import torch
from pertcast.training.checkpoint import (
    LocalCheckpointStore,
    TrainingState,
    seal_share,
    verify_checkpoint,
)
from pertcast.training.early_stopping import EarlyStopping
from pertcast.training.fit import fit
from pertcast.training.reports import Position, StageResult
from pertcast_data.errors import CorruptBundle

sys.path.append(str(Path(__file__).parent))
toys = importlib.import_module("training_toys")


def write_share(text: str = "weights"):
    def write(folder: Path) -> None:
        (folder / "model.pt").write_text(text)
        (folder / "deep").mkdir()
        (folder / "deep" / "shard.pt").write_text(text)
        seal_share(folder)

    return write


def test_the_newest_k_are_kept_and_the_newest_is_found(tmp_path: Path) -> None:
    store = LocalCheckpointStore(tmp_path / "c", keep=2)
    assert store.latest() is None
    for step in (5, 90, 100, 1000):
        store.save(Position(1, 0, step, step), {}, write_share(str(step)))
    names = sorted(path.name for path in (tmp_path / "c").iterdir())
    assert names == ["stage-01-step-000000100", "stage-01-step-000001000"]
    assert store.latest().name == names[-1]
    assert (store.latest() / "deep" / "shard.pt").read_text() == "1000"


def test_a_later_stage_counts_as_newer_at_the_same_step(tmp_path: Path) -> None:
    store = LocalCheckpointStore(tmp_path)
    store.save(Position(2, 0, 0, 40), {}, write_share())
    store.save(Position(1, 3, 1, 40), {}, write_share())
    assert store.latest().name == "stage-02-step-000000040"


@pytest.mark.parametrize("fault", ["truncated", "flipped", "missing", "no manifest", "broken manifest"])
def test_a_damaged_newest_checkpoint_is_named_and_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    store = LocalCheckpointStore(tmp_path)
    store.save(Position(1, 0, 1, 1), {}, write_share())
    store.save(Position(1, 0, 2, 2), {}, write_share())
    newest = tmp_path / "stage-01-step-000000002"
    file, manifest = newest / "deep" / "shard.pt", newest / "manifest-00000.json"
    if fault == "truncated":
        file.write_bytes(file.read_bytes()[:-1])
    elif fault == "flipped":
        content = bytearray(file.read_bytes())
        content[3] ^= 1
        file.write_bytes(content)
    elif fault == "missing":
        file.unlink()
    elif fault == "no manifest":
        manifest.unlink()
    else:
        manifest.write_text(manifest.read_text()[:40])
    with caplog.at_level(logging.WARNING):
        assert store.latest().name == "stage-01-step-000000001"
    assert "stage-01-step-000000002" in caplog.text
    with pytest.raises(CorruptBundle, match="stage-01-step-000000002"):
        verify_checkpoint(newest)


def test_a_share_of_another_rank_that_is_missing_is_noticed(tmp_path: Path) -> None:
    store = LocalCheckpointStore(tmp_path)
    store.save(Position(1, 0, 1, 1), {}, write_share())
    manifest = store.latest() / "manifest-00000.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"world_size": 2}))
    with pytest.raises(CorruptBundle, match="manifest-00001"):
        verify_checkpoint(tmp_path / "stage-01-step-000000001")


def test_a_failed_write_leaves_the_earlier_checkpoint_and_nothing_that_counts(tmp_path: Path) -> None:
    store = LocalCheckpointStore(tmp_path)
    store.save(Position(1, 0, 1, 1), {}, write_share())

    def fail(folder: Path) -> None:
        (folder / "model.pt").write_text("half")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        store.save(Position(1, 0, 2, 2), {}, fail)
    assert store.latest().name == "stage-01-step-000000001"
    store.save(Position(1, 0, 2, 2), {}, write_share("whole"))
    assert (store.latest() / "model.pt").read_text() == "whole"
    assert not list(tmp_path.glob(".*"))


def test_the_state_survives_writing_and_reading(tmp_path: Path) -> None:
    state = TrainingState(
        position=Position(1, 2, 3, 45),
        fingerprint={"workers": 2},
        results=(StageResult("mean"), StageResult("linear", 3, 12, True, 1, {"loss": 0.5})),
        stopping=EarlyStopping(0.25, 1, {"loss": 0.25, "kl": 1.5}, 2),
        seconds=12.5,
    )
    state.save(tmp_path)
    assert TrainingState.load(tmp_path) == state


def test_training_resumes_from_the_good_checkpoint_before_a_truncated_one(tmp_path: Path) -> None:
    config = toys.toy_train_config(keep_checkpoints=3, log_every_steps=1)
    undisturbed = toys.toy_model()
    fit(undisturbed, toys.toy_data(), config)
    fit(toys.toy_model(), toys.toy_data(), config, tmp_path)
    newest = sorted((tmp_path / "checkpoints").iterdir())
    assert [path.name[-2:] for path in newest] == ["15", "20", "24"]
    for path in newest[1:]:
        weights = path / "model.pt"
        weights.write_bytes(weights.read_bytes()[:100])
    resumed = toys.toy_model()
    result = fit(resumed, toys.toy_data(), config, tmp_path)
    assert result.resumed_from.global_step == 15
    ours, theirs = undisturbed.state_dict(), resumed.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_every_tensor_file_of_a_checkpoint_loads_without_running_code(tmp_path: Path) -> None:
    fit(toys.toy_model(), toys.toy_data(), toys.toy_train_config(log_every_steps=1, epochs=3), tmp_path)
    files = list((tmp_path / "checkpoints").rglob("*.pt"))
    assert {path.name for path in files} == {"model.pt", "engine.pt", "best.pt"}
    for path in files:
        torch.load(path, weights_only=True)


def test_early_stopping_counts_only_validations_that_are_not_better() -> None:
    state = EarlyStopping()
    for epoch, loss in enumerate([3.0, 2.0, 2.5, 2.0, 1.0, 1.5]):
        state = state.after(epoch, {"loss": loss})
    assert (state.best_loss, state.best_epoch, state.n_worse) == (1.0, 4, 1)
    assert state.is_exhausted(1)
    assert not state.is_exhausted(2)
    assert not state.is_exhausted(None)
