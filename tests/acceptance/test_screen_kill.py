"""Really killing a screen, anywhere: after the same command again, every byte is an undisturbed screen's."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from compound_screens import contents, screen_words
from thorough import THOROUGH

pytestmark = [pytest.mark.acceptance, pytest.mark.ray]

N_DOSES, SHARD_ROWS, N_SHARDS = 24, 64, 24
SEED = 7
EXECUTORS = ("in-process", "ray-data", "serve")
DRIVER_POINTS = {"in-process": 10, "ray-data": 2, "serve": 2} if THOROUGH else dict.fromkeys(EXECUTORS, 2)
WORKER_POINTS = dict.fromkeys(("ray-data", "serve"), 3 if THOROUGH else 1)
"""With PERTCAST_THOROUGH=1 as often as docs/screening.md says: at 20 points, else at 8."""
WRITTEN_IN_TURN = (
    "profiles.zarr/zarr.json",
    "sig_info.parquet",
    "profiles.zarr/manifest.json",
    "report.html",
)


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    words = screen_words(tmp_path_factory.mktemp("screen_kill"), N_DOSES, SHARD_ROWS)
    return [sys.executable, "-m", "pertcast_jobs", *words]


@dataclass(frozen=True)
class Whole:
    """An undisturbed screen: its files, and the seconds from its first shard to its end."""

    files: Mapping[str, str]
    seconds: float


@pytest.fixture(scope="module")
def undisturbed(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Whole:
    out = tmp_path_factory.mktemp("screens") / "whole"
    with running(command, out, "in-process") as process:
        wait_until(process, out, lambda: has_shards(out, 1))
        began = time.monotonic()
        assert process.wait(400) == 0
        seconds = time.monotonic() - began
    return Whole(contents(out), seconds)


def assert_same(out: Path, undisturbed: Whole) -> None:
    """Name the files that differ from those of the undisturbed screen; there must be none."""
    found, expected = contents(out), undisturbed.files
    names = sorted(found.keys() | expected.keys())
    assert [name for name in names if found.get(name) != expected.get(name)] == []


def finish(command: list[str], out: Path, executor: str) -> int:
    """Run the screen to its end and return how many profiles this call computed."""
    words = [*command, "--out", str(out), "--executor", executor, "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    return int(json.loads(done.stdout)["computed"])


@contextmanager
def running(command: list[str], out: Path, executor: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the screen as a process of its own; whatever is left of it is killed with the block."""
    words = [*command, "--out", str(out), "--executor", executor]
    with (out.parent / "stderr.txt").open("w") as errors:
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=errors)
    try:
        yield process
    finally:
        if process.poll() is None:
            kill_all(process)


def tree_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the processes that the screen started."""
    try:
        return list(psutil.Process(process.pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def kill_driver(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL the screen's process alone; its Ray follows by itself."""
    below = tree_of(process)
    process.kill()
    process.wait()
    left = psutil.wait_procs(below, timeout=240)[1]  # Ray's agents look for their raylet now and then
    assert left == [], "a killed driver leaves processes behind"


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL the screen's process and everything below it."""
    for other in [psutil.Process(process.pid), *tree_of(process)]:
        with suppress(psutil.NoSuchProcess):
            other.kill()
    process.wait()


def workers_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the processes that compute shards on Ray."""
    found = []
    for below in tree_of(process):
        with suppress(psutil.NoSuchProcess):
            words = " ".join(below.cmdline())
            if "ShardReplica" in words or "ShardActor" in words:
                found.append(below)
    return found


def wait_until(process: subprocess.Popen[bytes], out: Path, ready: Callable[[], bool]) -> None:
    """Return the moment `ready` holds or the screen ended well; fail where it ends otherwise."""
    deadline = time.monotonic() + 300
    while not ready():
        code = process.poll()
        if code == 0:
            return
        if code is not None or time.monotonic() > deadline:
            pytest.fail(f"the screen stands still or failed:\n{(out.parent / 'stderr.txt').read_text()}")
        time.sleep(0.0005)


def shards_done(out: Path) -> int:
    """Return how many shards are there; all of them where the manifest declares the screen complete."""
    if (out / "manifest.json").exists():
        return N_SHARDS
    return len(list((out / ".parts" / "records").glob("[0-9]*.json")))


def has_shards(out: Path, count: int) -> bool:
    return shards_done(out) >= count


def chunk_time(out: Path, shard: int) -> int:
    return (out / f"profiles.zarr/X/c/{shard}/0").stat().st_mtime_ns


def written_at(out: Path) -> Mapping[int, int]:
    """Return when the responses of each finished shard were written, by the shard's number."""
    records = (out / ".parts" / "records").glob("[0-9]*.json")
    return {shard: chunk_time(out, shard) for shard in (int(path.stem) for path in records)}


def lock_time(out: Path) -> int:
    lock = out / ".parts" / "lock"
    return lock.stat().st_mtime_ns if lock.exists() else 0


def is_at_work(out: Path, shards_before: int, lock_before: int) -> bool:
    """Whether a process writes: a shard more than before, or all there and the screen locked again."""
    if shards_before == N_SHARDS:
        return lock_time(out) != lock_before
    return shards_done(out) > shards_before


@pytest.mark.parametrize("executor", DRIVER_POINTS)
def test_a_driver_or_everything_killed_at_random_points_ends_in_the_same_bytes(
    command: list[str], undisturbed: Whole, tmp_path: Path, executor: str
) -> None:
    random_points = random.Random(f"{SEED} {executor}")
    number, killed = 0, 0
    while killed < DRIVER_POINTS[executor]:
        out = tmp_path / f"screen-{number}"
        point = random_points.uniform(0.0, undisturbed.seconds)
        before = shards_done(out), lock_time(out)
        with running(command, out, executor) as process:
            wait_until(process, out, partial(is_at_work, out, *before))
            with suppress(subprocess.TimeoutExpired):
                process.wait(point)
            ended = process.poll() is not None
            if not ended:
                (kill_driver if killed % 2 else kill_all)(process)
        if ended:  # this one was through before its point: the next screen is killed
            assert_same(out, undisturbed)
            number += 1
            continue
        killed += 1
        assert shards_done(out) >= before[0], "a shard that was finished is lost"
    out = tmp_path / f"screen-{number}"
    if not out.exists():
        return
    written = written_at(out)
    done = shards_done(out)
    computed = finish(command, out, executor)
    # Every shard that had its record was kept, so that a worker lost at most the one it was computing.
    assert computed == SHARD_ROWS * (N_SHARDS - done)
    assert [shard for shard, at in written.items() if chunk_time(out, shard) != at] == []
    assert_same(out, undisturbed)


@pytest.mark.parametrize("executor", WORKER_POINTS)
def test_workers_killed_at_random_shards_cost_no_more_than_the_shard_they_computed(
    command: list[str], undisturbed: Whole, tmp_path: Path, executor: str
) -> None:
    out = tmp_path / "screen"
    draws = random.Random(f"{SEED} workers {executor}")
    points = sorted(draws.sample(range(1, N_SHARDS // 2), WORKER_POINTS[executor]))
    written: dict[int, int] = {}
    with running(command, out, executor) as process:
        for point in points:
            wait_until(process, out, partial(has_shards, out, point))
            victims = workers_of(process)
            assert victims, "no worker is there"
            written = {**written_at(out), **written}
            victim = draws.choice(victims)
            victim.kill()
            psutil.wait_procs([victim], timeout=30)
        assert process.wait(400) == 0, (tmp_path / "stderr.txt").read_text()
    # A worker can die between its shard's record and its answer: that shard is the one it costs.
    again = [shard for shard, at in written.items() if chunk_time(out, shard) != at]
    assert len(again) <= len(points), again
    assert_same(out, undisturbed)


def test_a_driver_killed_at_every_step_of_its_writing_ends_in_the_same_bytes(
    command: list[str], undisturbed: Whole, tmp_path: Path
) -> None:
    out = tmp_path / "screen"
    killed_at = []
    for file in WRITTEN_IN_TURN:
        if (out / file).exists():  # where the last kill came late, a file is there already
            continue
        with running(command, out, "in-process") as process:
            wait_until(process, out, (out / file).exists)
            if process.poll() is None:
                kill_driver(process)
                killed_at.append(file)
    assert len(killed_at) > len(WRITTEN_IN_TURN) / 2
    assert finish(command, out, "in-process") == 0
    assert_same(out, undisturbed)
