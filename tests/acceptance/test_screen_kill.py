"""Really killing a screen, anywhere: after the same command again, every byte is an undisturbed screen's."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, simulate_atlas, write_atlas
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train import run_training

pytestmark = pytest.mark.acceptance

ATLAS = AtlasConfig(
    n_genes=200,
    n_contexts=2,
    n_compounds=24,
    n_unprofiled=8,
    doses=(1.0, 10.0),
    times=(24.0,),
    n_plates=5,
    n_knockouts=8,
    n_pairs=0,
    n_cells=200,
)
QUICK = ["model.config.width=32", "train.epochs=4"]
DOSES = ",".join(str(round(0.1 * 1.15**i, 4)) for i in range(40))
N_SHARDS = 40
SEED = 7
WRITTEN_IN_TURN = (
    ".parts/conditions.parquet",
    "profiles.zarr/zarr.json",
    "enrichment.parquet",
    "profiles.zarr/manifest.json",
    "sig_info.parquet",
    "neighbors.parquet",
    "report.html",
    "manifest.json",
)


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("screen_kill")
    files = write_atlas(simulate_atlas(ATLAS), folder / "atlas")
    ingest([files.wells], folder / "store")
    make_split(ExpressionStore.open(folder / "store"), "unseen_compound").save(folder / "split.json")
    overrides = [f"data.store={folder / 'store'}", f"data.split={folder / 'split.json'}", *QUICK]
    run_training(load_config("response_mlp", overrides), folder / "run")
    words = ["screen", "compounds", str(files.library), "--model", str(folder / "run")]
    options = ["--gmt", str(files.gene_sets), "--doses", DOSES, "--shard-rows", "64"]
    return [sys.executable, "-m", "pertcast_jobs", *words, *options]


@pytest.fixture(scope="module")
def undisturbed(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    out = tmp_path_factory.mktemp("screens") / "whole"
    finish(command, out, "in-process")
    return contents(out)


def contents(folder: Path) -> Mapping[str, str]:
    """The SHA-256 of every file; of the manifest without the code's revision, which others may move on."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            if path == folder / "manifest.json":
                content = json.dumps({**json.loads(content), "git_revision": None}).encode()
            found[path.relative_to(folder).as_posix()] = sha256(content).hexdigest()
    return found


def assert_same(out: Path, undisturbed: Mapping[str, str]) -> None:
    """Name the files that differ from those of the undisturbed screen; there must be none."""
    found = contents(out)
    differing = sorted(
        name for name in found.keys() | undisturbed.keys() if found.get(name) != undisturbed.get(name)
    )
    assert differing == []


def finish(command: list[str], out: Path, executor: str) -> int:
    """Run the screen to its end and return how many profiles this call computed."""
    words = [*command, "--out", str(out), "--executor", executor, "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    return int(json.loads(done.stdout)["computed"])


def kill_when(command: list[str], out: Path, executor: str, ready: Callable[[], bool]) -> None:
    """Start the screen and SIGKILL its process the moment `ready` holds; fail where it ends before."""
    words = [*command, "--out", str(out), "--executor", executor]
    with (out.parent / "stderr.txt").open("w") as errors:
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=errors)
        deadline = time.monotonic() + 300
        while not ready():
            over = process.poll() is not None and not ready()
            if over or time.monotonic() > deadline:
                process.kill()
                process.wait()
                pytest.fail(f"never came to be killed:\n{(out.parent / 'stderr.txt').read_text()}")
            time.sleep(0.0005)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


def shards_done(out: Path) -> int:
    return len(list((out / ".parts" / "records").glob("[0-9]*.json")))


def has_shards(out: Path, count: int) -> bool:
    return shards_done(out) >= count


def test_a_driver_killed_again_and_again_while_it_predicts_ends_in_the_same_bytes(
    command: list[str], undisturbed: Mapping[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "screen"
    points = sorted(random.Random(SEED).sample(range(1, N_SHARDS), 5))
    for point in points:
        kill_when(command, out, "in-process", partial(has_shards, out, point))
    already = shards_done(out)
    computed = finish(command, out, "in-process")
    assert computed == 64 * (N_SHARDS - already)
    assert_same(out, undisturbed)


def test_a_driver_killed_at_every_step_of_its_writing_ends_in_the_same_bytes(
    command: list[str], undisturbed: Mapping[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "screen"
    killed_at = []
    for file in WRITTEN_IN_TURN:
        if not (out / file).exists():  # where the last kill came late, a file is there already
            kill_when(command, out, "in-process", (out / file).exists)
            killed_at.append(file)
    assert len(killed_at) > len(WRITTEN_IN_TURN) / 2
    assert finish(command, out, "in-process") == 0
    assert_same(out, undisturbed)


def test_a_driver_killed_on_ray_data_ends_in_the_same_bytes(
    command: list[str], undisturbed: Mapping[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "screen"
    kill_when(command, out, "ray-data", partial(has_shards, out, N_SHARDS // 3))
    finish(command, out, "ray-data")
    assert_same(out, undisturbed)
