"""A training whose workers sit on machines of their own, one of which the network loses and finds again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import net_cluster as net
import pytest
import ray_faults as faults
from pertcast_jobs.run_folder import RunFolder
from waiting import wait_for

pytestmark = net.MARKS

EPOCHS = ["train.epochs=60"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with net.net_cluster(tmp_path_factory.mktemp("net"), 2) as made:
        yield made


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    screen = faults.make_screen(tmp_path_factory.mktemp("screen"))
    return [*screen, *faults.SIZE, *EPOCHS, *faults.CHECKPOINTS]


@pytest.fixture(scope="module")
def in_process(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Return the same training in one process of this machine."""
    run = faults.Training(words, RunFolder(tmp_path_factory.mktemp("runs") / "in-process"))
    run.finish()
    return run.run


def started(cluster: Any, run: Any) -> Any:
    """Submit a training from the client and follow it."""
    train = ["train", "response_mlp", *run.overrides, "--out", str(run.run.path)]
    return cluster.submitted(train, run.run.path.parent / "said")


def said(run: Any) -> str:
    """Return the end of what the command printed."""
    return str((run.run.path.parent / "said").read_text()[-3000:])


def ended(driver: Any, run: Any, seconds: float) -> None:
    code = driver.wait(seconds)
    assert code == 0, said(run)
    assert run.run.is_done


def test_a_training_over_two_machines_comes_through_a_cut_to_the_weights_of_one_process(
    cluster: Any, words: list[str], in_process: RunFolder, tmp_path: Path
) -> None:
    run = faults.Training([*words, *faults.ON_RAY], RunFolder(tmp_path / "run"))
    driver = started(cluster, run)
    # Workers on machines of their own import torch there: minutes where the machine is busy.
    assert wait_for(lambda: run.step() >= 60 or driver.poll() is not None, 600), said(run)
    assert driver.poll() is None, said(run)
    assert cluster.boxes["node2"].processes("ray::"), "no worker sits on node2"
    cut, step = time.time(), run.step()
    cluster.cut("node2")
    assert wait_for(lambda: bool(run.events("workers_lost")), 300), "nobody misses the worker"
    noticed = time.time() - cut
    cluster.await_alive("head", "node1")
    gone = cluster.come_back("node2")
    back = time.time() - cut
    ended(driver, run, 240)

    assert [each.world_size for each in run.groups()] == [2, 2]
    assert faults.largest_difference(in_process, run.run) <= 1e-5
    resumed = run.groups()[1]
    print(
        f"training: cut at step {step}, missed {noticed:.0f} s later, machine there again after {back:.0f} s "
        f"(old Ray gone {gone:.0f} s after the heal), resumed at step {resumed.global_step} after "
        f"{resumed.time - cut:.0f} s"
    )
