"""Training on Ray Train: the same numbers as in this process, from separate worker processes."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pertcast.torch_threads import torch_threads
from pertcast.training.bundle import load_bundle_files
from pertcast_data.errors import ConfigError
from pertcast_jobs.run_config import ClusterConfig, RunConfig, load_config
from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.train import run_training
from pertcast_jobs.train.on_ray import interruptible, require_resources, worker_environment
from pertcast_jobs.train.worker_notes import read_note

pytestmark = pytest.mark.ray

QUICK = ["model.config.width=16", "model.config.depth=1", "model.config.basal_width=8"]
QUICK += ["train.batch_size=32", "train.epochs=3", "train.checkpoint_every_steps=5"]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums over threads round differently: compare at equal thread counts."""
    with torch_threads(1):
        yield


def small_run(small_screen: Any, *overrides: str) -> RunConfig:
    return load_config("response_mlp", [*small_screen.overrides, *QUICK, *overrides])


def on_ray(workers: int) -> tuple[str, ...]:
    return "cluster.launcher=ray", f"cluster.num_workers={workers}", "cluster.cpus_per_worker=0.9"


def test_one_ray_worker_trains_to_the_weights_of_this_process(
    ray_cluster: Any, one_thread: None, small_screen: Any, tmp_path: Path
) -> None:
    here = run_training(small_run(small_screen), tmp_path / "here")
    there = run_training(small_run(small_screen, *on_ray(1)), tmp_path / "there")
    one, other = load_bundle_files(here.bundle), load_bundle_files(there.bundle)
    assert one.weights.keys() == other.weights.keys()
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)
    assert here.validation == there.validation
    note = read_note(RunFolder.open(there.run).workers_path, 0)
    assert note is not None
    assert note.pid != os.getpid()


def test_two_workers_with_deepspeed_train_by_configuration_alone(
    ray_cluster: Any, small_screen: Any, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    engine = ("train.engine.name=deepspeed", "train.engine.zero_stage=2")
    outcome = run_training(
        small_run(small_screen, *on_ray(2), *engine),
        tmp_path / "run",
        progress=lambda done, total, note="": told.append((done, total)),
    )
    run = RunFolder.open(outcome.run)
    notes = [read_note(run.workers_path, rank) for rank in (0, 1)]
    assert len({note.pid for note in notes if note is not None}) == 2
    manifest = run.manifest()
    assert (manifest.world_size, manifest.engine, manifest.launcher) == (2, "deepspeed", "ray")
    assert told[-1][0] == told[-1][1] > outcome.result["global_step"] > 0
    lines = [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
    validations = [line["validation"]["loss"] for line in lines if line["validation"]]
    assert len(validations) == 3
    assert outcome.validation["loss"] == min(validations) < validations[0]
    assert load_bundle_files(outcome.bundle).facts.metrics["validation_loss"] == min(validations)


def test_more_workers_than_cpus_are_refused_instead_of_waiting(ray_cluster: Any) -> None:
    with pytest.raises(ConfigError, match=r"needs 64 CPUs for 64 workers, Ray has 2"):
        require_resources(ClusterConfig(launcher="ray", num_workers=64))


def test_only_cpu_workers_are_bound_to_the_cpu() -> None:
    on_cpu = worker_environment(ClusterConfig(launcher="ray", num_workers=2, cpus_per_worker=3))
    assert (on_cpu["DS_ACCELERATOR"], on_cpu["OMP_NUM_THREADS"]) == ("cpu", "3")
    assert "DS_ACCELERATOR" not in worker_environment(ClusterConfig(launcher="ray", use_gpu=True))


def test_what_a_training_raises_arrives_on_the_main_thread() -> None:
    assert interruptible(lambda: 3, lambda: None, grace_s=1.0) == 3

    def fail() -> None:
        raise ConfigError("from the other thread")

    with pytest.raises(ConfigError, match="from the other thread"):
        interruptible(fail, lambda: None, grace_s=1.0)


@pytest.mark.parametrize(("grace_s", "is_awaited"), [(30.0, True), (0.05, False)])
def test_an_interrupted_driver_asks_the_workers_and_waits_for_them_only_so_long(
    grace_s: float, is_awaited: bool
) -> None:
    asked, ended = threading.Event(), threading.Event()

    def train() -> None:
        threading.Timer(0.1, signal.raise_signal, [signal.SIGINT]).start()
        asked.wait(30)
        time.sleep(0.5)
        ended.set()

    with pytest.raises(KeyboardInterrupt):
        interruptible(train, asked.set, grace_s)
    assert asked.is_set()
    assert ended.is_set() == is_awaited
