"""A sweep on Ray Tune, and what it leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pertcast.training.bundle import find_bundle, load_bundle_files
from pertcast_data.errors import ConfigError
from pertcast_jobs.run_config import load_sweep
from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.tune import run_sweep
from pertcast_jobs.tune.records import Records

pytestmark = pytest.mark.ray

QUICK = ["model.config.depth=1", "model.config.basal_width=8", "train.batch_size=32", "train.epochs=2"]
SPACE = "space={model.config.width: {choice: [8, 16]}, model.config.optimiser.lr: {loguniform: [1e-3, 1e-2]}}"


def test_a_sweep_keeps_the_best_bundle_and_resumes_to_the_same(
    ray_cluster: Any, small_screen: Any, tmp_path: Path
) -> None:
    words = [*small_screen.overrides, *QUICK, SPACE, "search.trials=3"]
    sweep = load_sweep("response_mlp_sweep", words)
    out = tmp_path / "sweep"
    outcome = run_sweep(sweep, out)
    assert [trial.status for trial in outcome.trials] == ["done"] * 3
    advantages = [trial.metrics["advantage"] for trial in outcome.trials]
    assert advantages == sorted(advantages, reverse=True)
    assert outcome.best in outcome.front
    best = RunFolder.open(out / "trials" / outcome.best)
    assert best.config().model.config["width"] == outcome.trials[0].values["model.config.width"]
    assert best.manifest().result["validation"]["loss"] == outcome.trials[0].metrics["validation_loss"]
    kept = load_bundle_files(find_bundle(out))
    assert kept.content_hash == load_bundle_files(best.bundle_path).content_hash
    assert json.loads((out / "sweep.json").read_text())["best"] == outcome.best
    assert "What this does not show" in outcome.report.read_text(encoding="utf-8")

    with pytest.raises(ConfigError, match="Continue it with --resume"):
        run_sweep(sweep, out)
    again = run_sweep(sweep, out, resume=True)
    assert again.trials == outcome.trials


def test_another_sweep_at_the_same_place_is_refused(small_screen: Any, tmp_path: Path) -> None:
    words = [*small_screen.overrides, *QUICK, SPACE]
    out = tmp_path / "sweep"
    out.mkdir()
    sweep = load_sweep("response_mlp_sweep", words)
    (out / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not a sweep"):
        run_sweep(sweep, out, resume=True)


@pytest.mark.acceptance
def test_trials_may_train_on_their_own_ray_workers(
    ray_cluster: Any, small_screen: Any, tmp_path: Path
) -> None:
    workers = ["cluster.launcher=ray", "cluster.num_workers=2", "cluster.cpus_per_worker=0.9"]
    search = ["search.trials=2", "search.algorithm=optuna", "search.scheduler=asha", "search.grace_epochs=1"]
    words = [*small_screen.overrides, *QUICK, SPACE, *workers, *search, "train.checkpoint_every_steps=3"]
    out = tmp_path / "sweep"
    outcome = run_sweep(load_sweep("response_mlp_sweep", words), out)
    best = RunFolder.open(out / "trials" / outcome.best)
    assert best.manifest().world_size == 2
    assert best.manifest().result["validation"]["loss"] == outcome.trials[0].metrics["validation_loss"]
    assert outcome.trials[0].epochs == 2
    assert {trial.status for trial in outcome.trials} <= {"done", "stopped"}
    assert len(Records(out).read_all(2)) == 2


@pytest.mark.acceptance
def test_a_trial_that_fails_says_why_and_the_others_go_on(
    ray_cluster: Any, small_screen: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = ["search.trials=2", "search.objectives=[{metric: validation_loss, mode: min}]"]
    words = [*small_screen.overrides, *QUICK, SPACE, *search]
    out = tmp_path / "sweep"
    sweep = load_sweep("response_mlp_sweep", words)
    other = out / "trials" / "000"
    run_sweep(sweep, out)
    (other / "score.json").unlink()
    config = other / "config.yaml"
    config.write_text(config.read_text().replace("seed: 0", "seed: 5"))
    outcome = run_sweep(sweep, out, resume=True)
    assert capsys.readouterr().out == ""
    failed = outcome.trials[-1]
    assert (failed.trial, failed.status) == ("000", "failed")
    assert "it is another training" in str(failed.error)
    assert "train.seed (5 before, 0 now)" in str(failed.error)
    assert outcome.best == "001"
    assert "it is another training" in outcome.report.read_text(encoding="utf-8")
