"""Training on Ray Train: the same numbers as in this process, from separate worker processes."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from pertcast.torch_threads import torch_threads
from pertcast.training.bundle import load_bundle_files
from pertcast_data.errors import ConfigError, Preempted
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
    assert outcome.validation["loss"] == min(validations)
    trained = [line["losses"]["loss"] for line in lines if line["kind"] == "steps"]
    assert trained[-1] < trained[0]
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


@pytest.mark.parametrize(("grace_s", "they_end"), [(30.0, True), (0.05, False)])
def test_an_interrupted_driver_asks_the_workers_and_waits_for_them_only_so_long(
    grace_s: float, they_end: bool, sigint_interrupts: None
) -> None:
    asked, released, ended = threading.Event(), threading.Event(), threading.Event()

    def train() -> None:
        threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()
        (asked if they_end else released).wait(30)
        ended.set()

    with pytest.raises(KeyboardInterrupt):
        interruptible(train, asked.set, grace_s)
    assert asked.is_set()
    assert ended.is_set() == they_end
    released.set()


def test_a_sigterm_that_comes_twice_does_not_cut_the_last_checkpoint_short() -> None:
    ended = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        raise Preempted("stopped by SIGTERM")

    def train() -> None:
        for after_s in (0.1, 0.3):
            threading.Timer(after_s, os.kill, [os.getpid(), signal.SIGTERM]).start()
        time.sleep(1.0)
        ended.set()

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(Preempted):
            interruptible(train, lambda: None, grace_s=30.0)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.is_set()
