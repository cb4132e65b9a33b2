"""Checkpoints appear whole, are verified, the newest good one is used; what cannot be written is survived."""

from __future__ import annotations

import errno
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import training_toys as toys
from pertcast.torch_threads import torch_threads
from pertcast.training.checkpoint import TrainingState, seal_share, verify_checkpoint
from pertcast.training.checkpoint_keeper import CheckpointKeeper
from pertcast.training.checkpoint_local import LocalCheckpointStore
from pertcast.training.early_stopping import EarlyStopping
from pertcast.training.events import EventLog, read_events
from pertcast.training.files import load_tensors
from pertcast.training.fit import fit
from pertcast.training.reports import Position, StageResult
from pertcast.training.storage_faults import StorageUnavailable
from pertcast_data.errors import CorruptBundle


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


def write_share(text: str = "weights") -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "model.safetensors").write_text(text)
        (folder / "deep").mkdir()
        (folder / "deep" / "shard.safetensors").write_text(text)
        seal_share(folder)

    return write


def keeper_at(folder: Path, keep: int = 2, patience_s: float = 600.0) -> CheckpointKeeper:
    return CheckpointKeeper(LocalCheckpointStore(folder, keep), patience_s, EventLog(folder.parent))


def full_disk(folder: Path) -> None:
    (folder / "model.safetensors").write_text("half")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def events_of(run: Path) -> list[str]:
    return [event.kind for event in read_events(run / "events.jsonl")]


def same_weights(left: torch.nn.Module, right: torch.nn.Module) -> bool:
    ours, theirs = left.state_dict(), right.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_newest_k_are_kept_and_the_newest_is_found(tmp_path: Path) -> None:
    keeper = keeper_at(tmp_path / "c")
    assert keeper.newest() is None
    for step in (5, 90, 100, 1000):
        assert keeper.save(Position(1, 0, step, step), write_share(str(step)))
    names = sorted(path.name for path in (tmp_path / "c").iterdir())
    assert names == ["stage-01-step-000000100", "stage-01-step-000001000"]
    newest = keeper.newest()
    assert newest is not None and newest.name == names[-1]
    assert (newest / "deep" / "shard.safetensors").read_text() == "1000"


def test_a_later_stage_counts_as_newer_at_the_same_step(tmp_path: Path) -> None:
    keeper = keeper_at(tmp_path / "c")
    keeper.save(Position(2, 0, 0, 40), write_share())
    keeper.save(Position(1, 3, 1, 40), write_share())
    newest = keeper.newest()
    assert newest is not None and newest.name == "stage-02-step-000000040"


@pytest.mark.parametrize("fault", ["truncated", "flipped", "missing", "no manifest", "broken manifest"])
def test_a_damaged_newest_checkpoint_is_named_and_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    keeper = keeper_at(tmp_path / "c")
    keeper.save(Position(1, 0, 1, 1), write_share())
    keeper.save(Position(1, 0, 2, 2), write_share())
    newest = tmp_path / "c" / "stage-01-step-000000002"
    file, manifest = newest / "deep" / "shard.safetensors", newest / "manifest-00000.json"
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
        found = keeper.newest()
    assert found is not None and found.name == "stage-01-step-000000001"
    assert "stage-01-step-000000002" in caplog.text
    skipped = read_events(tmp_path / "events.jsonl")[-1]
    assert skipped.kind == "damaged_checkpoint_skipped" and "stage-01-step-000000002" in skipped.text
    with pytest.raises(CorruptBundle, match="stage-01-step-000000002"):
        verify_checkpoint(newest)


def test_a_share_of_another_rank_that_is_missing_is_noticed(tmp_path: Path) -> None:
    keeper = keeper_at(tmp_path / "c")
    keeper.save(Position(1, 0, 1, 1), write_share())
    manifest = tmp_path / "c" / "stage-01-step-000000001" / "manifest-00000.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"world_size": 2}))
    with pytest.raises(CorruptBundle, match="manifest-00001"):
        verify_checkpoint(manifest.parent)


def test_a_failed_write_leaves_the_earlier_checkpoint_and_nothing_that_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "c"
    keeper = keeper_at(folder)
    assert keeper.save(Position(1, 0, 1, 1), write_share())
    with caplog.at_level(logging.WARNING):
        assert not keeper.save(Position(1, 0, 2, 2), full_disk)
    assert "No space left on device" in caplog.text
    assert os.listdir(folder) == ["stage-01-step-000000001"], "the half is removed, to make room"
    assert keeper.save(Position(1, 0, 2, 2), write_share("whole"))
    newest = keeper.newest()
    assert newest is not None and (newest / "model.safetensors").read_text() == "whole"
    assert events_of(tmp_path) == ["checkpoint", "checkpoint_failed", "checkpoint"]


def test_one_failure_is_borne_however_long_ago_the_last_checkpoint_is_and_the_second_ends_training(
    tmp_path: Path,
) -> None:
    keeper = keeper_at(tmp_path / "c", patience_s=0.0)
    keeper.save(Position(1, 0, 1, 1), write_share())
    assert not keeper.save(Position(1, 0, 2, 2), full_disk)
    with pytest.raises(StorageUnavailable, match=r"No space left on device.*step-000000001.*Free some space"):
        keeper.save(Position(1, 0, 3, 3), full_disk)
    assert os.listdir(tmp_path / "c") == ["stage-01-step-000000001"]


def test_a_mistake_in_the_program_is_no_fault_of_the_storage(tmp_path: Path) -> None:
    def wrong(folder: Path) -> None:
        raise TypeError("a mistake")

    with pytest.raises(TypeError, match="a mistake"):
        keeper_at(tmp_path / "c").save(Position(1, 0, 1, 1), wrong)


def test_what_a_crash_left_half_is_never_used_and_is_cleared_away(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    keeper = keeper_at(folder)
    keeper.save(Position(1, 0, 1, 1), write_share())
    half = folder / ".stage-01-step-000000002.partial" / "share-00000"
    half.mkdir(parents=True)
    (half / "model.safetensors").write_text("half")
    newest = keeper_at(folder).newest()
    assert newest is not None and newest.name == "stage-01-step-000000001"
    keeper.save(Position(1, 0, 3, 3), write_share())
    assert sorted(os.listdir(folder)) == ["stage-01-step-000000001", "stage-01-step-000000003"]


def test_a_crash_while_a_checkpoint_is_replaced_by_one_of_its_name_loses_neither(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    keeper_at(folder, keep=1).save(Position(1, 0, 1, 1), write_share("first"))
    # `replace_folder` has put the old one aside and was killed before the new one got the name.
    (folder / "stage-01-step-000000001").rename(folder / ".stage-01-step-000000001.previous")
    newest = keeper_at(folder).newest()
    assert newest is not None and (newest / "model.safetensors").read_text() == "first"


def test_damaged_checkpoints_of_later_steps_do_not_push_out_a_good_new_one(tmp_path: Path) -> None:
    keeper = keeper_at(tmp_path / "c", keep=2)
    for step in (10, 20, 30):
        keeper.save(Position(1, 0, step, step), write_share())
    for name in ("stage-01-step-000000020", "stage-01-step-000000030"):
        (tmp_path / "c" / name / "model.safetensors").write_text("torn")
    keeper.save(Position(1, 0, 12, 12), write_share("good"))
    newest = keeper.newest()
    assert newest is not None and newest.name == "stage-01-step-000000012"


def test_storage_that_is_away_at_the_start_is_waited_for(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    keeper_at(run / "c").save(Position(1, 0, 1, 1), write_share())
    run.rename(tmp_path / "away")
    with pytest.raises(StorageUnavailable, match=r"No such file or directory.*Bring it back"):
        keeper_at(run / "c", patience_s=0.5).newest()
    (tmp_path / "away").rename(run)
    newest = keeper_at(run / "c").newest()
    assert newest is not None and newest.name == "stage-01-step-000000001"


def test_an_empty_mount_point_is_not_taken_for_a_run_without_checkpoints(tmp_path: Path) -> None:
    config = toys.toy_train_config(storage_patience_s=0.0)
    fit(toys.toy_model(), toys.toy_data(), config, tmp_path)
    (tmp_path / "checkpoints").rename(tmp_path / "elsewhere")
    with pytest.raises(StorageUnavailable, match=r"stage-02-step-000000024 was written.*events\.jsonl"):
        fit(toys.toy_model(), toys.toy_data(), config, tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_the_state_survives_writing_and_reading(tmp_path: Path) -> None:
    state = TrainingState(
        position=Position(1, 2, 3, 45),
        fingerprint={"rows": 2},
        results=(StageResult("mean"), StageResult("linear", 3, 12, True, 1, {"loss": 0.5})),
        stopping=EarlyStopping(0.25, 1, {"loss": 0.25, "kl": 1.5}, 2),
        seconds=12.5,
        ranks=3,
    )
    state.save(tmp_path)
    assert TrainingState.load(tmp_path) == state


def trained_run(folder: Path) -> tuple[Any, list[Path]]:
    """Train the toy; returns its model and its checkpoints of steps 15, 20 and 24, oldest first."""
    model = toys.toy_model()
    fit(model, toys.toy_data(), toys.toy_train_config(keep_checkpoints=3, log_every_steps=1), folder)
    kept = sorted((folder / "checkpoints").iterdir())
    assert [path.name[-2:] for path in kept] == ["15", "20", "24"]
    return model, kept


def kinds_of_files() -> list[str]:
    return ["model.safetensors", "best.safetensors", "state.json", "manifest-00000.json", "engine"]


@pytest.mark.parametrize("kind", kinds_of_files())
def test_a_newest_checkpoint_truncated_in_any_kind_of_file_costs_only_the_steps_since_the_one_before(
    tmp_path: Path, kind: str
) -> None:
    undisturbed, kept = trained_run(tmp_path)
    for path in kept[1:]:
        torn = next((each for each in sorted(path.iterdir()) if each.name.startswith(kind)), None)
        if torn is None:  # the last one holds no engine: its stage is done
            torn = path / "model.safetensors"
        torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 2])
    resumed = toys.toy_model()
    config = toys.toy_train_config(keep_checkpoints=3, log_every_steps=1)
    result = fit(resumed, toys.toy_data(), config, tmp_path)
    assert result.resumed_from is not None and result.resumed_from.global_step == 15
    assert same_weights(undisturbed, resumed)
    assert events_of(tmp_path).count("damaged_checkpoint_skipped") == 2


def test_every_tensor_file_of_a_checkpoint_is_safetensors(tmp_path: Path) -> None:
    trained_run(tmp_path)
    suffixes = {path.suffix for path in (tmp_path / "checkpoints").rglob("*") if path.is_file()}
    assert suffixes == {".safetensors", ".json"}
    for path in (tmp_path / "checkpoints").rglob("*.safetensors"):
        load_tensors(path)


class Moving:
    """Moves a folder away at one step and back at a later one."""

    def __init__(self, folder: Path, away_at: int, back_at: int) -> None:
        self.folder, self.away_at, self.back_at = folder, away_at, back_at

    def __call__(self, report: Any) -> None:
        hidden = self.folder.with_name("hidden")
        if report.kind == "steps" and report.global_step == self.away_at:
            self.folder.rename(hidden)
        if report.kind == "steps" and report.global_step == self.back_at:
            hidden.rename(self.folder)


def test_a_run_folder_that_goes_away_and_comes_back_costs_nothing_but_the_checkpoints_between(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = toys.toy_train_config(log_every_steps=1)
    undisturbed = toys.toy_model()
    fit(undisturbed, toys.toy_data(), config)
    run, model = tmp_path / "run", toys.toy_model()
    with caplog.at_level(logging.WARNING):
        fit(model, toys.toy_data(), config, run, report=Moving(run, 7, 17))
    assert same_weights(undisturbed, model)
    assert "stage-01-step-000000010 was not written" in caplog.text
    assert events_of(run).count("checkpoint_failed") == 2, "events are written once the folder is back"
    assert events_of(run)[-1] == "finished"
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert sorted(set(steps)) == list(range(1, 25)), "no line of the curves is lost"
    assert sorted(path.name[-2:] for path in (run / "checkpoints").iterdir()) == ["20", "24"]


def test_a_run_folder_that_stays_away_ends_training_after_the_patience_and_what_was_there_is_intact(
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    config = toys.toy_train_config(log_every_steps=1, storage_patience_s=0.0)
    with pytest.raises(StorageUnavailable, match=r"run/checkpoints.*No such file.*step-000000005") as error:
        fit(toys.toy_model(), toys.toy_data(), config, run, report=Moving(run, 7, 1000))
    assert "Bring it back" in str(error.value)
    (tmp_path / "hidden").rename(run)
    undisturbed, resumed = toys.toy_model(), toys.toy_model()
    fit(undisturbed, toys.toy_data(), config)
    result = fit(resumed, toys.toy_data(), config, run)
    assert result.resumed_from is not None and result.resumed_from.global_step == 5
    assert same_weights(undisturbed, resumed)


def test_a_checkpoint_asked_for_by_a_stop_is_tried_again_until_the_storage_is_back(tmp_path: Path) -> None:
    tries = 0

    def second_time(folder: Path) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            full_disk(folder)
        write_share()(folder)

    keeper = keeper_at(tmp_path / "c")
    assert keeper.save_at_last(Position(1, 0, 1, 1), second_time) is None
    began = time.monotonic()
    reason = keeper_at(tmp_path / "c", patience_s=0.0).save_at_last(Position(1, 0, 2, 2), full_disk)
    assert reason is not None and "No space left on device" in reason
    assert time.monotonic() - began < 5


def test_early_stopping_counts_only_validations_that_are_not_better() -> None:
    state = EarlyStopping()
    for epoch, loss in enumerate([3.0, 2.0, 2.5, 2.0, 1.0, 1.5]):
        state = state.after(epoch, {"loss": loss})
    assert (state.best_loss, state.best_epoch, state.n_worse) == (1.0, 4, 1)
    assert state.is_exhausted(1)
    assert not state.is_exhausted(2)
    assert not state.is_exhausted(None)
