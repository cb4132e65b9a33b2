"""A small screen, the command line as a process, simulated nodes, and ways to end what trains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import small_screen
import torch
from pertcast.training.bundle import load_bundle_files
from pertcast.training.events import EVENTS_FILE, Event, read_events
from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.train.worker_notes import read_note
from waiting import wait_for

ON_RAY = ["cluster.launcher=ray", "cluster.num_workers=2", "cluster.cpus_per_worker=0.9"]
ZERO_2 = ["train.engine.name=deepspeed", "train.engine.zero_stage=2"]
SIZE = ["model.config.width=64", "train.batch_size=32", "train.patience=null"]
EPOCHS = ["train.epochs=30"]
CHECKPOINTS = ["train.checkpoint_every_steps=25", "train.log_every_steps=5"]


_STARTED: list[subprocess.Popen[str]] = []


def end_all() -> None:
    """End the commands that a failed test left running."""
    while _STARTED:
        driver = _STARTED.pop()
        if driver.poll() is None:
            driver.kill()
            driver.communicate()


def make_screen(folder: Path) -> list[str]:
    """Make a store and a split; returns them as overrides."""
    return small_screen.make_screen(folder, n_genes=80, n_compounds=24, n_plates=5).overrides


def pertcast(*words: str) -> list[str]:
    """Return the command line, deaf to no interrupt: what a shell starts in the background ignores them."""
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from pertcast_jobs.cli import run; sys.exit(run(sys.argv[1:]))"
    )
    return [sys.executable, "-c", program, *words]


@dataclass(frozen=True)
class Training:
    """A training that is to be disturbed.

    Attributes
    ----------
    overrides
        Of its configuration.
    run
        Its folder.
    environment
        Variables of the command beside this process's own.
    """

    overrides: Sequence[str]
    run: RunFolder
    environment: tuple[tuple[str, str], ...] = ()

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start the command in a session of its own."""
        command = pertcast("train", "response_mlp", *self.overrides, "--out", str(self.run.path), *words)
        driver = subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **dict(self.environment)},
        )
        _STARTED.append(driver)
        return driver

    def finish(self, *words: str) -> None:
        """Run the command to its end."""
        ended(self.start(*words))
        assert self.run.is_done

    def step(self, rank: int = 0) -> int:
        """Return the step that a rank told last."""
        note = read_note(self.run.workers_path, rank)
        return 0 if note is None else note.step

    def attempt(self, rank: int = 0) -> int:
        note = read_note(self.run.workers_path, rank)
        return 0 if note is None else note.attempt

    def machine(self, rank: int) -> str:
        """Return the host name of the machine that a rank trains on."""
        note = read_note(self.run.workers_path, rank)
        assert note is not None
        return note.host

    def await_step(self, step: int, *, attempt: int = 1, rank: int = 0) -> int:
        """Wait until an attempt of a rank has come to a step; returns its process id."""

        def has_come() -> bool:
            note = read_note(self.run.workers_path, rank)
            return note is not None and note.attempt >= attempt and note.step >= step

        assert wait_for(has_come, 300, every=0.02), (self.step(rank), self.attempt(rank), step, attempt)
        note = read_note(self.run.workers_path, rank)
        assert note is not None
        return note.pid

    def await_steps_of_group(self, number: int, n_steps: int = 20) -> None:
        """Wait until the group of workers with this number (from 1) has taken so many steps."""
        assert wait_for(lambda: len(self.groups()) >= number, 300), self.groups()
        assert wait_for(lambda: self.step() >= self.groups()[number - 1].global_step + n_steps, 300)

    def groups(self) -> list[Event]:
        """Return the start of each group of workers."""
        return self.events("started", "resumed")

    def checkpoints(self) -> list[Path]:
        return sorted(self.run.checkpoints_path.glob("stage-*"))

    def events(self, *kinds: str) -> list[Event]:
        return [each for each in read_events(self.run.path / EVENTS_FILE) if not kinds or each.kind in kinds]


def two_workers(
    screen: Sequence[str], path: Path, *more: str, environment: tuple[tuple[str, str], ...] = ()
) -> Training:
    """Return a training of two workers of Ray and a ZeRO stage, all of whose weights are comparable."""
    words = [*screen, *ON_RAY, *ZERO_2, *SIZE, *EPOCHS, *CHECKPOINTS, *more]
    return Training(words, RunFolder(path), environment)


def ended(driver: subprocess.Popen[str], code: int = 0, seconds: float = 400) -> str:
    """Wait for a command's end; returns what it wrote on standard error."""
    try:
        _, told = driver.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(driver.pid, signal.SIGKILL)
        _, told = driver.communicate()
        raise AssertionError(f"the command did not end within {seconds} s: {told[-3000:]}") from None
    assert driver.returncode == code, f"{driver.returncode} instead of {code}: {told[-3000:]}"
    return told


def largest_difference(one: RunFolder, other: RunFolder) -> float:
    """Return the largest difference of any weight of two finished runs."""
    before, after = load_bundle_files(one.bundle_path).weights, load_bundle_files(other.bundle_path).weights
    assert before.keys() == after.keys()
    return max(float((before[name] - after[name]).abs().max()) for name in before)


def same_weights(one: RunFolder, other: RunFolder) -> bool:
    """Whether two finished runs left the same model, bit for bit, and the same held-out losses."""
    before, after = load_bundle_files(one.bundle_path).weights, load_bundle_files(other.bundle_path).weights
    are_equal = all(torch.equal(before[name], after[name]) for name in before)
    return are_equal and one.manifest().result["validation"] == other.manifest().result["validation"]


def truncate(path: Path) -> None:
    """Cut a file short, as a machine that lost power does."""
    os.truncate(path, path.stat().st_size // 2)
