"""Nodes that are lost, announced, added, or see other folders: simulated here, and really killed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
import ray_faults as faults
from pertcast_jobs.run_folder import RunFolder
from waiting import wait_for

pytestmark = [pytest.mark.acceptance, pytest.mark.ray]

LONGER = ["train.epochs=160"]
"""Enough steps for nodes to come and go before the last."""
ELASTIC = [*LONGER, "cluster.min_workers=1", "cluster.look_for_nodes_every_s=2"]


@pytest.fixture(autouse=True)
def nothing_is_left_running() -> Iterator[None]:
    yield
    faults.end_all()


class Nodes:
    """A Ray whose head has no CPU, and nodes of one CPU each."""

    def __init__(self, temp_dir: str) -> None:
        from ray.cluster_utils import Cluster

        Path("/tmp/ray").mkdir(exist_ok=True)  # Ray notes there where its newest cluster is.
        head = {"num_cpus": 0, "include_dashboard": False, "temp_dir": temp_dir}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.workers = [self.add(), self.add()]

    def add(self) -> Any:
        return self.cluster.add_node(num_cpus=1)

    def two(self) -> None:
        """Bring the number of nodes back to two."""
        while len(self.workers) < 2:
            self.workers.append(self.add())

    def kill_one(self) -> None:
        """End a node and all that runs on it with SIGKILL."""
        self.cluster.remove_node(self.workers.pop(), allow_graceful=False)

    def announce_end_of_one(self) -> Any:
        """Tell Ray that a node will be gone in a minute, as a cloud does of a spot machine."""
        from ray.core.generated import autoscaler_pb2

        node = self.workers.pop()
        reason = autoscaler_pb2.DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION
        deadline_ms = int(time.time() * 1000) + 60_000
        accepted, why = self.cluster.head_node.get_gcs_client().drain_node(
            node.node_id, reason, "the machine is needed", deadline_ms
        )
        assert accepted, why
        return node


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with tempfile.TemporaryDirectory(prefix="nodes-") as folder:
        made = Nodes(folder)
        yield made
        made.cluster.shutdown()


@pytest.fixture
def training(nodes: Nodes, screen: list[str]) -> Any:
    """Return what makes a training on the nodes."""
    nodes.two()
    environment = (("RAY_ADDRESS", nodes.cluster.address),)
    return partial(faults.two_workers, screen, environment=environment)


def seconds_lost(run: Any) -> list[float]:
    """Return the time from each loss of workers to the start of the next group."""
    lost = [each.time for each in run.events("workers_lost")]
    back = [each.time for each in run.events("resumed", "started")]
    return [round(min(time for time in back if time > moment) - moment, 1) for moment in lost]


def test_a_run_of_fixed_size_waits_for_another_node_and_comes_to_the_same_weights(
    nodes: Nodes, training: Any, undisturbed: RunFolder, tmp_path: Path
) -> None:
    run = training(tmp_path / "run")
    driver = run.start()
    run.await_step(60)
    nodes.kill_one()
    time.sleep(5)
    assert run.attempt() == 1
    nodes.two()
    faults.ended(driver)

    sizes = [each.world_size for each in run.groups()]
    assert sizes == [2, 2]
    assert faults.same_weights(undisturbed, run.run)
    print("fixed: seconds lost", seconds_lost(run))


def test_an_elastic_run_shrinks_and_grows_with_its_nodes_and_comes_to_the_same_weights(
    nodes: Nodes, training: Any, screen: list[str], tmp_path: Path
) -> None:
    words = [*screen, *faults.SIZE, *LONGER, *faults.CHECKPOINTS]
    undisturbed = faults.Training(words, RunFolder(tmp_path / "undisturbed"))
    undisturbed.finish()
    run = training(tmp_path / "run", *ELASTIC)
    driver = run.start()
    run.await_step(60)
    drained = nodes.announce_end_of_one()
    run.await_steps_of_group(2)
    nodes.cluster.remove_node(drained)
    nodes.two()
    run.await_steps_of_group(3)
    nodes.kill_one()
    faults.ended(driver)

    attempts = run.groups()
    assert [each.world_size for each in attempts] == [2, 1, 2, 1]
    stops = run.events("preempted")
    assert [each.global_step for each in stops] == [each.global_step for each in attempts[1:3]]
    assert faults.largest_difference(undisturbed.run, run.run) <= 1e-5
    print("elastic: seconds lost", seconds_lost(run), faults.largest_difference(undisturbed.run, run.run))


def test_a_node_that_does_not_see_the_run_folder_ends_the_run_before_a_checkpoint_is_lost(
    nodes: Nodes, training: Any, tmp_path: Path
) -> None:
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounting needs rights that this user does not have")
    while nodes.workers:
        nodes.kill_one()
    run = training(tmp_path / "runs" / "run")
    run.run.path.parent.mkdir()
    hidden = f"mount -t tmpfs none {run.run.path.parent}"
    ray = Path(sys.executable).parent / "ray"
    start = f"{hidden} && exec {ray} start --address {nodes.cluster.address} --num-cpus 2 --block"
    node = subprocess.Popen(["unshare", "--mount", "bash", "-c", start], env=os.environ)
    try:
        assert wait_for(lambda: len(psutil.Process(node.pid).children(recursive=True)) > 1, 60)
        time.sleep(3)
        told = faults.ended(run.start(), code=1)
    finally:
        for process in [*psutil.Process(node.pid).children(recursive=True), psutil.Process(node.pid)]:
            process.kill()
        node.wait()
    assert "is not the driver's folder of that name" in told
    assert "failed too often" not in told
    assert not run.checkpoints()
