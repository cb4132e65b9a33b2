"""A screen's executors side by side: how fast shards come, how long workers take to come and to be replaced.

The same shards are computed by each executor in one run; rates are taken after every worker has come.
Recovery is the time from the SIGKILL of the only worker to the next finished shard. Usage:
`python benchmarks/bench_screen_executors.py [--shards 60] [--shard-rows 256] [--width 1024]`
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, simulate_atlas, write_atlas
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.ray_session import ray_session
from pertcast_jobs.run_config import load_config
from pertcast_jobs.screen.executors import Resources, get_executor
from pertcast_jobs.screen.plan import ScreenSettings
from pertcast_jobs.screen.prepare import PreparedScreen, ScreenRequest, prepare_screen
from pertcast_jobs.screen.profiles import create_profiles
from pertcast_jobs.screen.workspace import Workspace
from pertcast_jobs.train import run_training

CASES = (("in-process", 1), ("ray-data", 1), ("ray-data", 2), ("serve", 1), ("serve", 2))
RECOVERING = ("ray-data", "serve")
CPUS = 2


def make_screen(folder: Path, shards: int, shard_rows: int, width: int) -> PreparedScreen:
    """Train a response_mlp for an epoch and plan a screen of at least `shards` shards."""
    config = AtlasConfig(n_genes=978, n_contexts=2, n_compounds=40, doses=(1.0, 10.0), times=(24.0,))
    files = write_atlas(simulate_atlas(config), folder / "atlas")
    ingest([files.wells], folder / "store")
    make_split(ExpressionStore.open(folder / "store"), "unseen_compound").save(folder / "split.json")
    words = [f"data.store={folder / 'store'}", f"data.split={folder / 'split.json'}", "train.epochs=1"]
    run_training(load_config("response_mlp", [*words, f"model.config.width={width}"]), folder / "run")
    doses = tuple(0.1 * 1.01**i for i in range(shards * shard_rows // (2 * config.n_compounds) + 1))
    settings = ScreenSettings(kind="compounds", shard_rows=shard_rows)
    request = ScreenRequest(
        kind="compounds", model=folder / "run", library=files.library, doses=doses, settings=settings
    )
    return prepare_screen(request)


@contextmanager
def new_screen(prepared: PreparedScreen) -> Iterator[Path]:
    """Begin the screen in a folder of its own."""
    with tempfile.TemporaryDirectory() as name:
        workspace = Workspace(Path(name) / "screen")
        workspace.begin(prepared.plan, prepared.predictor.genes)
        create_profiles(workspace, prepared.plan, prepared.predictor.genes, prepared.layers)
        yield workspace.path


def workers() -> list[psutil.Process]:
    """Return the processes below this one that compute shards."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            words = " ".join(process.cmdline())
            if ("ShardReplica" in words or "ShardActor" in words) and "__init__" not in words:
                found.append(process)
    return found


def shard_times(prepared: PreparedScreen, executor: str, most: int, kill_after: int | None) -> list[float]:
    """Return when each shard came, in seconds since the executor was entered; kills a worker where asked."""
    resources = Resources(most_workers=most, least_workers=most)
    times: list[float] = []
    with new_screen(prepared) as out:
        started = time.perf_counter()
        with get_executor(executor)(prepared.task(out), prepared.predictor, resources) as compute:
            for _ in compute(range(prepared.plan.n_shards)):
                times.append(time.perf_counter() - started)
                if len(times) == kill_after:
                    workers()[0].kill()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=60)
    parser.add_argument("--shard-rows", type=int, default=256)
    parser.add_argument("--width", type=int, default=1024)
    options = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as name:
        prepared = make_screen(Path(name), options.shards, options.shard_rows, options.width)
        shards, rows = prepared.plan.n_shards, options.shard_rows
        print(f"{shards} shards of {rows} profiles x {len(prepared.predictor.genes)} genes, {CPUS} CPUs")
        base = 0.0
        with ray_session(num_cpus=CPUS, dashboard=False):
            for executor, most in CASES:
                times = shard_times(prepared, executor, most, None)
                half = len(times) // 2
                rate = (len(times) - half) / (times[-1] - times[half - 1])
                base = base or rate
                print(
                    f"  {executor:<11} {most} workers {rate:7.2f} shards/s {rate * rows:9,.0f} profiles/s  "
                    f"{rate / base:5.2f} of in-process; first shard after {times[0]:5.1f} s"
                )
            for executor in RECOVERING:
                killed = shards // 3
                times = shard_times(prepared, executor, 1, killed)
                # The next but one: an answer may have been on its way already.
                print(f"  {executor:<11} recovered in {times[killed + 1] - times[killed - 1]:5.1f} s")


if __name__ == "__main__":
    main()
