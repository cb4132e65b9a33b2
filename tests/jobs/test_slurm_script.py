"""The Slurm script alone: commands stand for Slurm's, Ray's and Pertcast's, which end when the test wants."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "jobs" / "slurm" / "job.sbatch"

# To be asked to stop takes longer than to stop: Slurm's controller is busy.
SRUN = """#!/usr/bin/env bash
echo "$*" >> "$TOLD"
while [[ $1 == --* ]]; do
  if [ "$1" = --overlap ]; then shift; else shift 2; fi
done
[ "$1" = pkill ] || exec "$@"
kill -TERM "$(cat "$TOLD.pid")"
sleep 1
"""
SCONTROL = """#!/usr/bin/env bash
if [ "$1" = show ]; then echo localhost; else echo "$*" >> "$TOLD"; fi
"""
RAY = """#!/usr/bin/env bash
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""
PERTCAST = """#!/usr/bin/env bash
trap 'exit "$ENDS_WITH"' TERM
echo "$*" >> "$TOLD"
echo $$ > "$TOLD.pid.new"
mv "$TOLD.pid.new" "$TOLD.pid"
while [ -z "$IS_SHORT" ]; do sleep 0.05; done
exit "$ENDS_WITH"
"""


def start(folder: Path, ends_with: int, *, is_short: bool) -> subprocess.Popen[bytes]:
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    texts = {"srun": SRUN, "scontrol": SCONTROL, "ray": RAY, "pertcast": PERTCAST}
    for name, text in texts.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    environment = {
        **os.environ,
        "TOLD": str(folder / "told"),
        "ENDS_WITH": str(ends_with),
        "IS_SHORT": "yes" if is_short else "",
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NODELIST": "localhost",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "16",
        "SLURM_GPUS_ON_NODE": "8",
    }
    words = ["bash", str(SCRIPT), "train", "latent_diffusion", "--out", "/shared/run"]
    return subprocess.Popen(words, cwd=folder, env=environment)


@pytest.mark.parametrize(("ends_with", "requeued"), [(143, 1), (1, 0), (0, 0)])
def test_a_command_that_ends_while_it_is_asked_to_has_its_own_code_and_143_is_queued_again(
    tmp_path: Path, ends_with: int, requeued: int
) -> None:
    job = start(tmp_path, ends_with, is_short=False)
    deadline = time.monotonic() + 60
    while not (tmp_path / "told.pid").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    job.send_signal(signal.SIGUSR1)
    assert job.wait(60) == ends_with
    assert (tmp_path / "told").read_text().splitlines().count("requeue 4711") == requeued


def test_the_command_gets_the_words_and_resumes_and_each_node_its_cpus(tmp_path: Path) -> None:
    assert start(tmp_path, 0, is_short=True).wait(60) == 0
    told = (tmp_path / "told").read_text().splitlines()
    assert told[-1] == "train latent_diffusion --out /shared/run --resume"
    (step,) = (line for line in told if "symmetric-run" in line)
    to_srun, _, to_ray = step.partition(" ray ")
    assert to_srun == "--ntasks 2 --ntasks-per-node 1 --cpus-per-task 16"
    assert "--min-nodes 2 --num-cpus 16 --num-gpus 8 -- pertcast" in to_ray
