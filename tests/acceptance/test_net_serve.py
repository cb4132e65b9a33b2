"""Predictors on three machines under load, one of which the network loses and finds again."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import net_cluster as net
import pytest
import yaml
from waiting import wait_for

pytestmark = net.MARKS

NODES = ("node1", "node2", "node3")
SERVE = str(Path(sys.executable).parent / "serve")
CONDITION = {"cell_iname": "A375", "pert_id": "drug-1", "pert_dose": 10.0, "pert_time": 24.0}
PATIENCE_S = 10.0
"""What a load balancer waits for an answer before it takes the next machine."""
DEPLOYED = {
    "proxy_location": "EveryNode",
    "http_options": {"host": "0.0.0.0", "port": 8000},
    "applications": [
        {"name": "pertcast", "route_prefix": "/", "import_path": "pertcast_serve.builder:build"},
    ],
}
PREDICTOR = {"min_replicas": 3, "max_replicas": 3, "cpus_per_replica": 0.6}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with net.net_cluster(tmp_path_factory.mktemp("net"), 3) as made:
        yield made


def make_key(cluster: Any, keys: Path) -> str:
    """Return a key that may predict: without keys, the endpoint answers its own machine only."""
    made = cluster.pertcast("key", "create", "--keys", str(keys), "--name", "load", "--scope", "predict")
    assert made.returncode == 0, made.stderr
    return str(made.stdout.split()[-1])


def predicted(node: str, key: str) -> int:
    """Return the status that a machine's proxy answers a prediction with; 0 where none came in time."""
    url = f"http://{net.ADDRESSES[node]}:8000/v1/predict"
    try:
        answer = httpx.post(
            url, json={"conditions": [CONDITION]}, headers={"X-API-Key": key}, timeout=PATIENCE_S
        )
        return answer.status_code
    except httpx.HTTPError:
        return 0


@dataclass(frozen=True)
class Answer:
    """One request: where it went, when it was sent, the seconds it took, the status (0: none came)."""

    node: str
    sent: float
    seconds: float
    status: int


@dataclass
class Load:
    """One client for each machine's proxy, which asks again and again."""

    cluster: Any
    nodes: Sequence[str]
    key: str
    answers: list[Answer] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def _send(self, node: str) -> None:
        with self.cluster.client.entered():
            while not self.over.wait(0.1):
                sent = time.monotonic()
                status = predicted(node, self.key)
                self.answers.append(Answer(node, sent, time.monotonic() - sent, status))

    @contextmanager
    def sent(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._send, args=(node,)) for node in self.nodes]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.over.set()
            for thread in threads:
                thread.join()

    def after(self, moment: float, *nodes: str) -> list[Answer]:
        """Return what was sent to these machines since a moment."""
        return [each for each in list(self.answers) if each.node in nodes and each.sent >= moment]

    def has_answered(self, moment: float, node: str, n: int) -> bool:
        return sum(each.status == 200 for each in self.after(moment, node)) >= n


def deploy(cluster: Any, bundle: Path, folder: Path) -> str:
    """Deploy the endpoint from the client, as a RayService does; returns a key once each machine answers."""
    key = make_key(cluster, folder / "keys.json")
    args = {
        "access": {"keys": str(folder / "keys.json")},
        "models": {"default": str(bundle)},
        "ingress_replicas": 3,
        "predictor": PREDICTOR,
        "analysis": {"min_replicas": 1, "max_replicas": 1, "cpus_per_replica": 0.1},
    }
    deployed = {**DEPLOYED, "applications": [{**DEPLOYED["applications"][0], "args": args}]}  # type: ignore[dict-item]
    (folder / "serve.yaml").write_text(yaml.safe_dump(deployed))
    words = [SERVE, "deploy", str(folder / "serve.yaml"), "--address", net.DASHBOARD]
    process = cluster.popen("client", *words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    with cluster.client.entered():
        for node in NODES:
            assert wait_for(lambda: predicted(node, key) == 200, 300), node  # noqa: B023 (called at once)
    return key


def test_a_machine_that_is_cut_off_costs_few_requests_of_the_others_and_serves_again(
    cluster: Any, tiny_bundle: Path, tmp_path: Path
) -> None:
    key = deploy(cluster, tiny_bundle, tmp_path)
    replicas = {node: len(cluster.boxes[node].processes("BatchedPredictor")) for node in NODES}
    assert replicas == dict.fromkeys(NODES, 1)
    load = Load(cluster, NODES, key)
    with load.sent():
        time.sleep(5)
        cut = time.monotonic()
        cluster.cut("node3")
        time.sleep(2)
        declared = 2 + cluster.await_alive("head", "node1", "node2")
        time.sleep(10)
        healed = time.monotonic()
        ended = cluster.come_back("node3")
        back = time.monotonic()
        assert wait_for(lambda: load.has_answered(back, "node3", 5), 300), "node3 does not serve again"
    serves = min(each.sent for each in load.after(back, "node3") if each.status == 200) - healed
    others = load.after(0, "node1", "node2")
    failed = [each for each in others if each.status != 200]
    longest = max(each.seconds for each in others if each.status == 200 and each.sent > cut - PATIENCE_S)
    counted = Counter((each.node, each.status) for each in load.answers)
    print(
        f"serving: declared dead {declared:.0f} s after the cut, {len(failed)} of {len(others)} requests to "
        f"the other machines failed, longest answer {longest:.1f} s; old Ray gone {ended:.0f} s and machine "
        f"serving {serves:.0f} s after the heal; {counted}"
    )
    for each in failed:
        print(each.node, round(each.sent - cut, 1), round(each.seconds, 1), each.status)
    assert not [each for each in failed if each.sent > cut + declared + PATIENCE_S]
