"""Really killing what trains: the result is that of an undisturbed run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pertcast.training.bundle import load_bundle_files
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, simulate_atlas, write_atlas
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.train.worker_notes import read_note

pytestmark = [pytest.mark.acceptance, pytest.mark.ray]

ATLAS = AtlasConfig(
    n_genes=80,
    n_contexts=2,
    n_compounds=24,
    n_unprofiled=4,
    doses=(1.0, 10.0),
    times=(24.0,),
    n_plates=5,
    n_knockouts=8,
    n_pairs=0,
    n_cells=200,
)
ON_RAY = ["cluster.launcher=ray", "cluster.num_workers=2", "cluster.cpus_per_worker=0.9"]
ZERO_2 = ["train.engine.name=deepspeed", "train.engine.zero_stage=2"]
SIZE = ["model.config.width=64", "train.batch_size=32", "train.epochs=40", "train.patience=null"]
CHECKPOINTS = ["train.checkpoint_every_steps=25", "train.log_every_steps=5"]


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("screen")
    files = write_atlas(simulate_atlas(ATLAS), folder / "atlas")
    ingest([files.wells], folder / "store")
    make_split(ExpressionStore.open(folder / "store"), "unseen_compound").save(folder / "split.json")
    return [f"data.store={folder / 'store'}", f"data.split={folder / 'split.json'}"]


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


def has_reached(run: RunFolder, rank: int, step: int) -> bool:
    """Whether a rank has taken some steps and a checkpoint is registered."""
    note = read_note(run.workers_path, rank)
    registered = run.checkpoints_path / "checkpoint_manager_snapshot.json"
    return note is not None and note.step >= step and registered.exists()


class Killer(threading.Thread):
    """Kills the process of a rank, as soon as it has reached a step."""

    def __init__(self, run: RunFolder, rank: int, step: int) -> None:
        super().__init__(daemon=True)
        self.run_folder, self.rank, self.step = run, rank, step
        self.killed_at: int | None = None

    def run(self) -> None:
        if wait_for(lambda: has_reached(self.run_folder, self.rank, self.step), 180):
            note = read_note(self.run_folder.workers_path, self.rank)
            assert note is not None
            os.kill(note.pid, signal.SIGKILL)
            self.killed_at = note.step


def pertcast(*words: str) -> list[str]:
    """Return the command line, deaf to no interrupt: what a shell starts in the background ignores them."""
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from pertcast_jobs.cli import run; sys.exit(run(sys.argv[1:]))"
    )
    return [sys.executable, "-c", program, *words]


def train_command(screen: list[str], run: RunFolder) -> list[str]:
    words = [*screen, *ON_RAY, *ZERO_2, *SIZE, *CHECKPOINTS]
    return pertcast("train", "response_mlp", *words, "--out", str(run.path))


@pytest.fixture(scope="module")
def undisturbed(screen: list[str], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = RunFolder(tmp_path_factory.mktemp("runs") / "undisturbed")
    subprocess.run(train_command(screen, run), check=True, timeout=300)
    return run


def assert_same_model(one: RunFolder, other: RunFolder) -> None:
    before, after = load_bundle_files(one.bundle_path), load_bundle_files(other.bundle_path)
    assert before.weights.keys() == after.weights.keys()
    assert all(torch.equal(before.weights[name], after.weights[name]) for name in before.weights)
    assert one.manifest().result["validation"] == other.manifest().result["validation"]


def test_a_killed_worker_is_replaced_and_the_weights_are_those_of_an_undisturbed_run(
    screen: list[str], undisturbed: RunFolder, tmp_path: Path
) -> None:
    killed = RunFolder(tmp_path / "killed")
    killer = Killer(killed, rank=1, step=60)
    killer.start()
    subprocess.run(train_command(screen, killed), check=True, timeout=300)
    killer.join()

    assert killer.killed_at is not None
    assert 60 <= killer.killed_at < killed.manifest().result["global_step"]
    notes = [read_note(killed.workers_path, rank) for rank in (0, 1)]
    assert [note.attempt for note in notes if note is not None] == [2, 2]
    assert_same_model(undisturbed, killed)


def test_an_interrupted_ray_run_ends_with_130_and_resumes_to_the_same_weights(
    screen: list[str], undisturbed: RunFolder, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "interrupted")
    driver = subprocess.Popen(train_command(screen, run))
    try:
        assert wait_for(lambda: has_reached(run, rank=0, step=60), 180)
        driver.send_signal(signal.SIGINT)
        assert driver.wait(60) == 130
    finally:
        driver.kill()
    assert not run.is_done
    subprocess.run([*train_command(screen, run), "--resume"], check=True, timeout=300)
    note = read_note(run.workers_path, 0)
    assert note is not None
    assert note.attempt == 2
    assert_same_model(undisturbed, run)


def sweep_command(screen: list[str], out: Path) -> list[str]:
    quick = ["model.config.depth=1", "train.batch_size=32", "train.epochs=30", "train.patience=null"]
    return pertcast("tune", "response_mlp_sweep", *screen, *quick, *CHECKPOINTS, "--out", str(out))


def objectives(out: Path) -> list[tuple[str, float]]:
    """Return configuration and best loss of each trial; ids differ between sweeps."""
    runs = [RunFolder.open(folder) for folder in (out / "trials").iterdir()]
    assert all(run.is_done for run in runs)
    return sorted((str(run.config().model), run.manifest().result["validation"]["loss"]) for run in runs)


def test_a_sweep_whose_driver_is_killed_resumes_to_the_table_of_an_undisturbed_one(
    screen: list[str], tmp_path: Path
) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    subprocess.run(sweep_command(screen, undisturbed), check=True, timeout=300)
    driver = subprocess.Popen(sweep_command(screen, killed), start_new_session=True)

    def two_trials_have_checkpoints() -> bool:
        checkpoints = (killed / "trials").glob("*/checkpoints/stage-*")
        return len({path.parent for path in checkpoints}) >= 2

    try:
        assert wait_for(two_trials_have_checkpoints, 120)
    finally:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
    assert not (killed / "sweep.json").exists()
    subprocess.run([*sweep_command(screen, killed), "--resume"], check=True, timeout=300)
    assert objectives(killed) == objectives(undisturbed)
