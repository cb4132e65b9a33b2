"""A Ray cluster whose nodes live in network namespaces, so that a node can be cut off while it lives on.

Boxes are joined by a bridge in a namespace of its own: nothing that they send reaches this machine. A cut
box gets no packet and no error, as behind a dead switch.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import net_boxes
import pytest
from net_boxes import ADDRESSES, Box, Namespaces, why_not
from waiting import wait_for

# Not of Ray: its Rays have networks of their own, and nothing of them meets another of this machine.
MARKS: Final = [pytest.mark.acceptance, pytest.mark.skipif(bool(why_not()), reason=why_not())]

TOKEN: Final = "7e" * 32
PYTHON: Final = sys.executable
RAY: Final = str(Path(sys.executable).parent / "ray")
_OBJECT_STORE_BYTES: Final = 100_000_000
ONE_CPU: Final = ("--num-cpus", "1")
_TRIES: Final = 3

GCS: Final = f"{ADDRESSES['head']}:6379"
DASHBOARD: Final = f"http://{ADDRESSES['head']}:8265"
QUICK_CHECKS: Final = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "5",
}
"""A node that says nothing is declared dead after about 15 s instead of about a minute."""


@dataclass
class NetCluster:
    """A head, nodes and a client, and what a test does to them.

    Attributes
    ----------
    folder
        For logs.
    environment
        Variables of everything inside beside this process's own.
    boxes
        By name.
    """

    folder: Path
    environment: Mapping[str, str]
    switch: Any = field(default_factory=lambda: Namespaces("--net"))
    boxes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        script = "ip link set lo up; ip link add bridge type bridge; ip link set bridge up"
        net_boxes.check(["nsenter", "-t", str(self.switch.pid), "--net", "sh", "-ec", script])
        Path("/tmp/ray").mkdir(exist_ok=True)  # what the boxes mount theirs on

    @property
    def client(self) -> Any:
        return self.boxes["client"]

    def add_box(self, name: str) -> Any:
        """Plug a machine without Ray into the network."""
        space = Namespaces("--net", "--mount", "--uts", "--mount-proc", inside=self.switch)
        box = self.boxes[name] = Box(name, space, self.folder / f"{name}.log")
        self._on_switch(
            f"ip link del {name} 2>/dev/null || true",
            f"ip link add {name} type veth peer name eth0 netns {space.pid}",
            f"ip link set {name} master bridge; ip link set {name} up",
        )
        hosts = self.folder / "hosts"
        lines = [f"{address} {each}" for each, address in ADDRESSES.items()]
        hosts.write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))
        # Neighbours are fixed: nobody is told that a machine that was cut off is not there.
        neighbours = [
            f"ip neigh replace {address} lladdr {net_boxes.mac(each)} dev eth0 nud permanent"
            for each, address in ADDRESSES.items()
            if each != name
        ]
        space.do(
            "\n".join(
                [
                    f"hostname {name}; mount --bind {hosts} /etc/hosts",
                    "mount -t tmpfs none /tmp/ray; mount -t tmpfs -o size=256m none /dev/shm",
                    f"ip link set lo up; ip link set eth0 address {net_boxes.mac(name)} up",
                    f"ip addr add {box.address}/24 dev eth0",
                    *neighbours,
                ]
            )
        )
        return box

    def _on_switch(self, *lines: str) -> None:
        net_boxes.check(["nsenter", "-t", str(self.switch.pid), "--net", "sh", "-ec", "\n".join(lines)])

    def cut(self, name: str) -> None:
        """Take a box off the network; its processes live on and are told nothing."""
        self._on_switch(f"ip link set {name} down")

    def heal(self, name: str) -> None:
        """Plug a box in again."""
        self._on_switch(f"ip link set {name} up")

    def start_ray(self, name: str, *words: str) -> None:
        """Start Ray in a box, as head where it is named so."""
        box = self.boxes[name]
        options = ["--node-ip-address", box.address, "--object-store-memory", str(_OBJECT_STORE_BYTES)]
        if name == "head":
            options += ["--head", "--port", "6379", "--dashboard-host", box.address]
        else:
            options += ["--address", GCS]
        command = [RAY, "start", *options, "--disable-usage-stats", "--block", *words]
        with box.log.open("ab") as log:
            box.ray = self.popen(name, *command, stdout=log, stderr=log)

    def add_node(self, name: str, *words: str) -> None:
        """Start Ray in a box, and wait until the head knows it.

        Ray gives itself 30 s to come up, which a busy machine does not keep: then a new box tries again.
        """
        others = set() if name == "head" else self.alive()
        for _ in range(_TRIES):
            self.start_ray(name, *words)
            wait_for(lambda: self._is_gone(name) or self._are_alive({*others, name}), 240)
            if self._are_alive({*others, name}):
                return
            self.boxes[name].end()
            self.add_box(name)
        raise AssertionError(f"{name} did not come up: {self.said()}")

    def _is_gone(self, name: str) -> bool:
        ray = self.boxes[name].ray
        return ray is None or ray.poll() is not None

    def _are_alive(self, names: set[str]) -> bool:
        try:
            return self.alive() == names
        except httpx.HTTPError:
            return False

    def popen(self, name: str, *words: str, **pipes: Any) -> subprocess.Popen[Any]:
        """Start a command in a box."""
        environment = {**os.environ, **self.environment}
        for variable in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
            environment.pop(variable, None)
        if name == "head":
            environment["RAY_ADDRESS"] = GCS
        return subprocess.Popen(self.boxes[name].space.command(words), env=environment, **pipes)

    def pertcast(
        self, *words: str, seconds: float = 400, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line in the client's box to its end."""
        given = [f"{key}={value}" for key, value in variables.items()]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = self.popen("client", "env", *given, PYTHON, "-m", "pertcast_jobs", *words, **pipes)
        out, err = process.communicate(timeout=seconds)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def job(self, action: str, *words: str, seconds: float = 400, **variables: str) -> Any:
        """Run `pertcast job ACTION` in the client's box to its end."""
        return self.pertcast("job", action, "--address", DASHBOARD, *words, seconds=seconds, **variables)

    def submitted(self, words: Sequence[str], said: Path) -> subprocess.Popen[bytes]:
        """Submit a command as a job from the client's box and follow it; what it says goes to a file."""
        submit = ["job", "submit", "--address", DASHBOARD, "--no-ship", "--wait", "--", *words]
        with said.open("w") as log:
            return self.popen("client", PYTHON, "-m", "pertcast_jobs", *submit, stdout=log, stderr=log)

    def alive(self) -> set[str]:
        """Return the boxes whose Ray the head counts as alive."""
        with self.client.entered():
            answer = httpx.get(
                f"{DASHBOARD}/api/v0/nodes", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=20
            )
        rows = answer.raise_for_status().json()["data"]["result"]["result"]
        names = {address: name for name, address in ADDRESSES.items()}
        return {names[row["node_ip"]] for row in rows if row["state"] == "ALIVE"}

    def come_back(self, name: str) -> float:
        """Plug a box in again and start its Ray anew, once the one that was declared dead has ended.

        Returns
        -------
        float
            Seconds that the old one took to end.
        """
        began = time.monotonic()
        self.heal(name)
        assert wait_for(lambda: not self.boxes[name].processes("raylet/raylet"), 240), (
            "the old raylet lives on"
        )
        seconds = time.monotonic() - began
        self.add_node(name, *ONE_CPU)
        return seconds

    def await_alive(self, *names: str, seconds: float = 400) -> float:
        """Wait until just these boxes are alive; returns the seconds."""
        began = time.monotonic()
        assert wait_for(lambda: self._are_alive(set(names)), seconds), (names, self.said())
        return time.monotonic() - began

    def said(self) -> str:
        """Return the ends of what the boxes' Rays said."""
        logs = [box.log for box in self.boxes.values() if box.log.exists()]
        return "\n".join(f"{log.name}: {log.read_text()[-500:]}" for log in logs)

    def end(self) -> None:
        """End all boxes and all that runs in them."""
        for box in self.boxes.values():
            box.end()
        self.switch.end()


@contextmanager
def net_cluster(folder: Path, n_nodes: int, **variables: str) -> Iterator[NetCluster]:
    """Run a head without CPUs, nodes of one CPU each, and a client without Ray.

    Parameters
    ----------
    folder
        For logs.
    n_nodes
        Nodes named node1, node2, ...
    **variables
        More of the environment of everything inside.
    """
    environment = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
        "PATH": f"{Path(PYTHON).parent}:{os.environ['PATH']}",
        **QUICK_CHECKS,
        **variables,
    }
    cluster = NetCluster(folder, environment)
    names = [f"node{number}" for number in range(1, n_nodes + 1)]
    try:
        for name in ("client", "head", *names):
            cluster.add_box(name)
        cluster.add_node("head", "--num-cpus", "0")
        for name in names:
            cluster.add_node(name, *ONE_CPU)
        yield cluster
    finally:
        cluster.end()
