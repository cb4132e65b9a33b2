"""The Slurm job, with commands that stand for Slurm's: a real Ray, told to end and queued again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pertcast.training.events import EVENTS_FILE, read_events
from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.train.worker_notes import read_note
from small_screen import make_screen
from thorough import only_thorough
from waiting import wait_for

# Not of Ray: it runs in namespaces of its own, where no other Ray is.
pytestmark = pytest.mark.acceptance

SCRIPT = Path(__file__).parents[2] / "jobs" / "slurm" / "job.sbatch"
OWN_PROCESSES = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount", "--mount-proc"]
"""`ray symmetric-run` ends with `ray stop`, which must see no other Ray of this machine."""

SRUN = """#!/usr/bin/env bash
while [[ $1 == --* ]]; do
  if [ "$1" = --overlap ]; then shift; else shift 2; fi
done
exec "$@"
"""
SCONTROL = """#!/usr/bin/env bash
case "$1" in
  show) echo localhost ;;
  requeue) echo "$2" >> "$REQUEUED" ;;
esac
"""
LONG = ["train.batch_size=32", "train.epochs=400", "train.patience=null", "train.checkpoint_every_steps=1000"]

if subprocess.run([*OWN_PROCESSES, "true"], capture_output=True, check=False).returncode:
    pytest.skip("no process namespaces here: they need `unshare`", allow_module_level=True)


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a job on one node, with `srun` and `scontrol` on its PATH."""
    # Ray's sockets lie below this folder, and a socket's path is short.
    short = Path(tempfile.mkdtemp(prefix="slurm-"))
    commands = tmp_path / "slurm"
    commands.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    yield {
        **{key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"},
        "PATH": f"{commands}:{os.environ['PATH']}",
        "PERTCAST_VENV": str(Path(sys.executable).parents[1]),
        "REQUEUED": str(tmp_path / "requeued"),
        "RAY_TMPDIR": str(short),
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NODELIST": "localhost",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_CPUS_PER_TASK": "2",
    }
    shutil.rmtree(short, ignore_errors=True)


def batch_shell(job: subprocess.Popen[bytes]) -> psutil.Process:
    """Return the process that Slurm would signal: the shell of the script."""
    return next(child for child in psutil.Process(job.pid).children() if child.name() == "bash")


def test_a_job_that_slurm_ends_writes_a_checkpoint_and_goes_on_when_it_is_queued_again(
    slurm: dict[str, str], tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "run")
    data = make_screen(tmp_path, doses=(10.0,)).overrides
    where = ["@cpus", "cluster.cpus_per_worker=0.9"]
    words = ["train", "response_mlp", *where, *data, *LONG, "--out", str(run.path)]
    command = [*OWN_PROCESSES, "bash", str(SCRIPT), *words]

    def has_begun() -> bool:
        note = read_note(run.workers_path, 0)
        return note is not None and note.step >= 20

    first = subprocess.Popen(command, env=slurm)
    try:
        assert wait_for(has_begun, 400)
        os.kill(batch_shell(first).pid, signal.SIGUSR1)
        assert first.wait(240) == 143
    finally:
        first.kill()
    assert Path(slurm["REQUEUED"]).read_text().split() == ["4711"]
    assert not run.is_done

    subprocess.run([*command, "train.epochs=400"], env=slurm, check=True, timeout=500)
    assert run.is_done
    resumed = [event for event in read_events(run.path / EVENTS_FILE) if event.kind == "resumed"]
    assert len(resumed) == 1
    assert resumed[0].global_step >= 20


@only_thorough
def test_a_screen_runs_on_the_jobs_nodes_and_is_left_alone_when_it_is_queued_again(
    slurm: dict[str, str], tmp_path: Path
) -> None:
    data = make_screen(tmp_path, doses=(10.0,)).overrides
    run, screen = tmp_path / "run", tmp_path / "screen"
    pertcast = [sys.executable, "-m", "pertcast_jobs"]
    training = ["train", "response_mlp", *data, "train.epochs=2", "--out", str(run)]
    subprocess.run([*pertcast, *training], check=True, timeout=120)

    words = ["screen", "compounds", "--model", str(run), "--out", str(screen), "--workers", "1"]
    job = [*OWN_PROCESSES, "bash", str(SCRIPT), *words]
    subprocess.run(job, env=slurm, check=True, timeout=200)
    manifest = (screen / "manifest.json").stat()
    again = subprocess.run(job, env=slurm, check=True, timeout=200, capture_output=True, text=True)
    assert "0 profiles computed now" in again.stdout
    assert (screen / "manifest.json").stat().st_mtime_ns == manifest.st_mtime_ns
    assert not Path(slurm["REQUEUED"]).exists()
