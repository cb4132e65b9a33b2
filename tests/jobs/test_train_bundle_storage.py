"""A run whose folder is away when its bundle is to be written: waited for, or written by --resume."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from pertcast.training.bundle import find_bundle, load_bundle_files
from pertcast.training.storage_faults import StorageUnavailable
from pertcast_data.progress import ProgressCallback
from pertcast_jobs.run_config import RunConfig, load_config
from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.train import run_training
from pertcast_jobs.train.in_process import train_in_process
from pertcast_jobs.train.outcome import Trained
from pertcast_jobs.train.prepare import PreparedRun

QUICK = ["model.config.width=16", "model.config.depth=1", "train.batch_size=32", "train.epochs=2"]


@pytest.fixture(scope="module")
def overrides(small_screen: Any) -> list[str]:
    return [*small_screen.overrides, *QUICK]


@pytest.fixture(scope="module")
def undisturbed(overrides: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_training(config_of(overrides), tmp_path_factory.mktemp("runs") / "run").run


def config_of(overrides: list[str], patience_s: float = 600) -> RunConfig:
    return load_config("response_mlp", [*overrides, f"train.storage_patience_s={patience_s}"])


def trains_and_loses_its_folder(hidden: Path, back_after_s: float | None) -> Any:
    """Return a launcher after whose training the run's folder is away, for a while or for good."""

    def launch(prepared: PreparedRun, run: RunFolder, progress: ProgressCallback) -> Trained:
        trained = train_in_process(prepared, run, progress)
        run.path.rename(hidden)
        if back_after_s is not None:
            threading.Timer(back_after_s, hidden.rename, [run.path]).start()
        return trained

    return launch


def assert_equal_weights(one: Path, other: Path) -> None:
    first, second = (load_bundle_files(find_bundle(run)).weights for run in (one, other))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_bundle_that_cannot_be_written_is_tried_again_until_the_folder_is_back(
    overrides: list[str], undisturbed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    launch = trains_and_loses_its_folder(tmp_path / "hidden", back_after_s=0.3)
    run_training(config_of(overrides), tmp_path / "run", launch=launch)
    assert "could not write the bundle" in caplog.text
    assert_equal_weights(tmp_path / "run", undisturbed)


def test_a_bundle_that_could_not_be_written_for_too_long_is_written_by_resume_without_another_step(
    overrides: list[str], undisturbed: Path, tmp_path: Path
) -> None:
    run, hidden = tmp_path / "run", tmp_path / "hidden"
    with pytest.raises(StorageUnavailable, match=r"write the bundle .*run/bundle.*Bring it back.*--resume"):
        launch = trains_and_loses_its_folder(hidden, back_after_s=None)
        run_training(config_of(overrides, patience_s=0), run, launch=launch)
    assert not run.exists()
    hidden.rename(run)
    lines = (run / "metrics.jsonl").read_text()
    run_training(config_of(overrides), run, resume=True)
    assert (run / "metrics.jsonl").read_text() == lines
    assert_equal_weights(run, undisturbed)
