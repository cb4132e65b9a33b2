"""A training on a small disk of its own that becomes full: `unshare -rm python full_disk.py MODE ...`.

MODE "comes_back": the disk is freed again while training goes on. "stays": training ends, the disk is freed,
the run is resumed. The finished run is copied to where it can be compared: the disk ends with this process.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ray_faults as faults
from pertcast_jobs.run_folder import RunFolder


def fill(disk: Path) -> Path:
    """Take all the space that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return filler


def main(mode: str, disk: Path, out: Path, overrides: list[str]) -> None:
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)], check=True)
    run = faults.Training(overrides, RunFolder(disk / "run"))
    driver = run.start()
    run.await_step(60)
    before = [path.name for path in run.checkpoints()]
    filler, began = fill(disk), time.monotonic()
    facts: dict[str, Any] = {"before": before}
    if mode == "comes_back":
        # Notes cannot be written either while the disk is full: time passes, several checkpoints fail.
        time.sleep(4)
        filler.unlink()
        facts["full_s"] = round(time.monotonic() - began, 1)
        facts["told"] = faults.ended(driver)
    else:
        facts["told"] = faults.ended(driver, code=1)
        facts["ended_after_s"] = round(time.monotonic() - began, 1)
        facts["after"] = [path.name for path in run.checkpoints()]
        facts["hidden"] = [path.name for path in run.run.checkpoints_path.glob(".*")]
        filler.unlink()
        run.finish("--resume")
    facts["kinds"] = [event.kind for event in run.events()]
    shutil.copytree(disk / "run", out)
    out.with_suffix(".json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
