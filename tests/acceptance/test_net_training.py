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
from thorough import only_thorough
from waiting import wait_for

pytestmark = net.MARKS

EPOCHS = ["train.epochs=60"]
LONGER = ["train.epochs=400"]
"""Enough steps for a machine to come back, start Ray and be taken in before the last."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with net.net_cluster(tmp_path_factory.mktemp("net"), 2) as made:
        yield made


@pytest.fixture(scope="module")
def screen(screen: list[str]) -> list[str]:
    return [*screen, *faults.SIZE, *faults.CHECKPOINTS]


@pytest.fixture(scope="module")
def in_process(screen: list[str], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Return the same training in one process of this machine."""
    return trained_here([*screen, *EPOCHS], tmp_path_factory.mktemp("runs") / "in-process")


def trained_here(words: list[str], path: Path) -> RunFolder:
    run = faults.Training(words, RunFolder(path))
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


def await_middle(driver: Any, run: Any) -> None:
    # Workers on machines of their own import torch there: minutes where the machine is busy.
    assert wait_for(lambda: run.step() >= 60 or driver.poll() is not None, 600), said(run)
    assert driver.poll() is None, said(run)


@pytest.mark.parametrize("rank", [1, pytest.param(0, marks=only_thorough)])
def test_a_training_over_two_machines_comes_through_a_cut_to_the_weights_of_one_process(
    cluster: Any, screen: list[str], in_process: RunFolder, tmp_path: Path, rank: int
) -> None:
    run = faults.Training([*screen, *EPOCHS, *faults.ON_RAY], RunFolder(tmp_path / "run"))
    driver = started(cluster, run)
    await_middle(driver, run)
    lost, other = run.machine(rank), run.machine(1 - rank)
    assert lost != other
    cut, step = time.time(), run.step()
    cluster.cut(lost)
    assert wait_for(lambda: bool(run.events("workers_lost")), 300), "nobody misses the worker"
    noticed = time.time() - cut
    cluster.await_alive("head", other)
    gone = cluster.come_back(lost)
    back = time.time() - cut
    ended(driver, run, 240)

    assert [each.world_size for each in run.groups()] == [2, 2]
    assert faults.largest_difference(in_process, run.run) <= 1e-5
    resumed = run.groups()[1]
    print(
        f"training: rank {rank} cut at step {step}, missed {noticed:.0f} s later, machine there again after "
        f"{back:.0f} s (old Ray gone {gone:.0f} s after the heal), resumed at step {resumed.global_step} "
        f"after {resumed.time - cut:.0f} s"
    )


@only_thorough
def test_an_elastic_training_goes_on_without_the_machine_and_takes_it_in_again(
    cluster: Any, screen: list[str], tmp_path: Path
) -> None:
    words = [*screen, *LONGER]
    undisturbed = trained_here(words, tmp_path / "in-process")
    elastic = ["cluster.min_workers=1", "cluster.look_for_nodes_every_s=2"]
    run = faults.Training([*words, *faults.ON_RAY, *elastic], RunFolder(tmp_path / "run"))
    driver = started(cluster, run)
    await_middle(driver, run)
    lost = run.machine(0)
    cut = time.time()
    cluster.cut(lost)
    run.await_steps_of_group(2)
    cluster.come_back(lost)
    run.await_steps_of_group(3)
    ended(driver, run, 240)

    shrunk, grown = run.groups()[1:]
    assert [each.world_size for each in run.groups()] == [2, 1, 2]
    assert faults.largest_difference(undisturbed, run.run) <= 1e-5
    print(
        f"elastic: went on with one worker {shrunk.time - cut:.0f} s after the cut, at step "
        f"{shrunk.global_step}; with two again after {grown.time - cut:.0f} s, at step {grown.global_step}"
    )
