"""A four-trial sweep on Ray Tune, and what it leaves."""

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
from pertcast_jobs.tune.sweep import concurrent_trials, trial_resources

pytestmark = pytest.mark.ray

QUICK = ["model.config.depth=1", "model.config.basal_width=8", "train.batch_size=32", "train.epochs=2"]
SPACE = "space={model.config.width: {choice: [8, 16]}, model.config.optimiser.lr: {loguniform: [1e-3, 1e-2]}}"


def test_a_four_trial_sweep_keeps_the_best_bundle_and_resumes_to_the_same(
    ray_cluster: Any, small_screen: Any, tmp_path: Path
) -> None:
    sweep = load_sweep("response_mlp_sweep", [*small_screen.overrides, *QUICK, SPACE])
    out = tmp_path / "sweep"
    outcome = run_sweep(sweep, out)
    assert [trial.status for trial in outcome.trials] == ["done"] * 4
    objectives = [trial.objective for trial in outcome.trials]
    assert objectives == sorted(objectives)
    best = RunFolder.open(out / "trials" / outcome.best)
    assert best.config().model.config["width"] == outcome.trials[0].values["model.config.width"]
    assert best.manifest().result["validation"]["loss"] == outcome.trials[0].objective
    kept = load_bundle_files(find_bundle(out))
    assert kept.content_hash == load_bundle_files(best.bundle_path).content_hash
    assert json.loads((out / "sweep.json").read_text())["best"] == outcome.best

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


def test_as_many_trials_run_at_a_time_as_their_workers_find_cpus(small_screen: Any) -> None:
    words = [*small_screen.overrides, "cluster.launcher=ray", "cluster.num_workers=2"]
    sweep = load_sweep("response_mlp_sweep", [*words, "cluster.cpus_per_worker=0.9"])
    assert trial_resources(sweep, 2.0) == {"CPU": 0.01}
    assert [concurrent_trials(sweep, cpus) for cpus in (2.0, 4.0)] == [1, 2]
    too_large = load_sweep("response_mlp_sweep", [*words, "cluster.cpus_per_worker=1"])
    with pytest.raises(ConfigError, match=r"needs 2\.01 CPUs, Ray has 2\."):
        trial_resources(too_large, 2.0)


@pytest.mark.acceptance
def test_trials_may_train_on_their_own_ray_workers(
    ray_cluster: Any, small_screen: Any, tmp_path: Path
) -> None:
    workers = ["cluster.launcher=ray", "cluster.num_workers=2", "cluster.cpus_per_worker=0.9"]
    stopping = ["search.trials=2", "search.algorithm=optuna", "search.scheduler=asha"]
    words = [*small_screen.overrides, *QUICK, SPACE, *workers, *stopping, "train.checkpoint_every_steps=3"]
    outcome = run_sweep(load_sweep("response_mlp_sweep", words), tmp_path / "sweep")
    best = RunFolder.open(tmp_path / "sweep" / "trials" / outcome.best)
    assert best.manifest().world_size == 2
    assert best.manifest().result["validation"]["loss"] == outcome.trials[0].objective
    assert outcome.trials[0].epochs == 2
