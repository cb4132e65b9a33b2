"""A Ray cluster whose nodes live in network namespaces, so that a node can be cut off while it lives on.

Every box has its own network, process ids, host name, /tmp/ray and /dev/shm, and sees this machine's files,
as nodes see storage that they share. Boxes are joined by a bridge in a namespace of its own: nothing that
they send reaches this machine. A cut box gets no packet and no error, as behind a dead switch.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import httpx
import psutil  # type: ignore[import-untyped]

TOKEN: Final = "7e" * 32
PYTHON: Final = sys.executable
RAY: Final = str(Path(sys.executable).parent / "ray")
_NEW_NETWORK: Final = 0x40000000
"""CLONE_NEWNET of sched.h."""
_OBJECT_STORE_BYTES: Final = 100_000_000
_INIT: Final = "sleep infinity & wait"
"""As process 1, bash takes in what others leave behind."""

ADDRESSES: Final[Mapping[str, str]] = {
    "client": "10.77.0.9",
    "head": "10.77.0.10",
    **{f"node{number}": f"10.77.0.{10 + number}" for number in range(1, 5)},
}
GCS: Final = f"{ADDRESSES['head']}:6379"
DASHBOARD: Final = f"http://{ADDRESSES['head']}:8265"
QUICK_CHECKS: Final = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
"""A node that says nothing is declared dead after about 10 s instead of about a minute."""


@cache
def why_not() -> str:
    """Return why namespaces cannot be made here, or nothing."""
    tried = "ip link add one type veth peer name two && ip link add three type bridge"
    command = ["unshare", "--net", "--mount", "--pid", "--uts", "--fork", "--mount-proc", "sh", "-c", tried]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        return f"{error.filename} is not installed"
    return f"no namespaces here: {done.stderr.strip()}" if done.returncode else ""


def _mac(name: str) -> str:
    return f"02:77:00:00:00:{int(ADDRESSES[name].rsplit('.', 1)[1]):02x}"


def _check(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stderr)


class Namespaces:
    """A process that holds namespaces; all that runs in them ends with it.

    Parameters
    ----------
    *kinds
        Namespaces as `unshare` names them.
    inside
        Where to make them: the network of others, or this machine's.
    """

    def __init__(self, *kinds: str, inside: Namespaces | None = None) -> None:
        into = [] if inside is None else ["nsenter", "-t", str(inside.pid), "--net"]
        made = ["unshare", *kinds, "--pid", "--fork", "--kill-child", "bash", "-c", _INIT]
        self.holder = subprocess.Popen([*into, *made])
        self.pid: int = self._first_process()

    def _first_process(self) -> int:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            children = psutil.Process(self.holder.pid).children()
            if children and os.readlink(f"/proc/{children[0].pid}/ns/pid") != os.readlink(
                "/proc/self/ns/pid"
            ):
                return int(children[0].pid)
            time.sleep(0.01)
        raise AssertionError("unshare started nothing")

    def command(self, words: Sequence[str]) -> list[str]:
        return ["nsenter", "-t", str(self.pid), "--all", "--", *words]

    def do(self, script: str) -> None:
        """Run lines of a shell inside; each must succeed."""
        _check(self.command(["sh", "-ec", script]))

    def end(self) -> None:
        self.holder.kill()
        self.holder.wait()


@dataclass
class Box:
    """One machine of the network.

    Attributes
    ----------
    name
        Its host name.
    space
        Its namespaces.
    log
        What its Ray says.
    ray
        The command that keeps its Ray up; None before it is started.
    """

    name: str
    space: Namespaces
    log: Path
    ray: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return ADDRESSES[self.name]

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Make the connections of this thread start from this box."""
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/proc/{self.space.pid}/ns/net", os.O_RDONLY)
        try:
            _enter(there)
            yield
        finally:
            _enter(here)
            os.close(here)
            os.close(there)

    def processes(self, words: str) -> list[psutil.Process]:
        """Return the processes of this box whose command line holds the words."""
        found = []
        for process in psutil.process_iter():
            try:
                if _is_in(process.pid, self.space) and re.search(words, " ".join(process.cmdline())):
                    found.append(process)
            except (OSError, psutil.Error):
                continue
        return found


def _is_in(process: int, space: Namespaces) -> bool:
    return os.readlink(f"/proc/{process}/ns/pid") == os.readlink(f"/proc/{space.pid}/ns/pid")


def _enter(network: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(network, _NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "setns")


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
    switch: Namespaces = field(default_factory=lambda: Namespaces("--net"))
    boxes: dict[str, Box] = field(default_factory=dict)

    def __post_init__(self) -> None:
        script = "ip link set lo up; ip link add bridge type bridge; ip link set bridge up"
        _check(["nsenter", "-t", str(self.switch.pid), "--net", "sh", "-ec", script])
        Path("/tmp/ray").mkdir(exist_ok=True)  # what the boxes mount theirs on

    @property
    def client(self) -> Box:
        return self.boxes["client"]

    def add_box(self, name: str) -> Box:
        """Plug a machine without Ray into the network."""
        space = Namespaces("--net", "--mount", "--uts", "--mount-proc", inside=self.switch)
        box = self.boxes[name] = Box(name, space, self.folder / f"{name}.log")
        self._on_switch(
            f"ip link add {name} type veth peer name eth0 netns {space.pid}",
            f"ip link set {name} master bridge; ip link set {name} up",
        )
        hosts = self.folder / "hosts"
        lines = [f"{address} {each}" for each, address in ADDRESSES.items()]
        hosts.write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))
        # Neighbours are fixed: nobody is told that a machine that was cut off is not there.
        neighbours = [
            f"ip neigh replace {address} lladdr {_mac(each)} dev eth0 nud permanent"
            for each, address in ADDRESSES.items()
            if each != name
        ]
        space.do(
            "\n".join(
                [
                    f"hostname {name}; mount --bind {hosts} /etc/hosts",
                    "mount -t tmpfs none /tmp/ray; mount -t tmpfs -o size=256m none /dev/shm",
                    f"ip link set lo up; ip link set eth0 address {_mac(name)} up",
                    f"ip addr add {box.address}/24 dev eth0",
                    *neighbours,
                ]
            )
        )
        return box

    def _on_switch(self, *lines: str) -> None:
        _check(["nsenter", "-t", str(self.switch.pid), "--net", "sh", "-ec", "\n".join(lines)])

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

    def popen(self, name: str, *words: str, **pipes: Any) -> subprocess.Popen[Any]:
        """Start a command in a box."""
        environment = {**os.environ, **self.environment}
        for variable in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
            environment.pop(variable, None)
        if name == "head":
            environment["RAY_ADDRESS"] = GCS
        return subprocess.Popen(self.boxes[name].space.command(words), env=environment, **pipes)

    def pertcast(
        self, *words: str, seconds: float = 200, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line in the client's box to its end."""
        given = [f"{key}={value}" for key, value in variables.items()]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = self.popen("client", "env", *given, PYTHON, "-m", "pertcast_jobs", *words, **pipes)
        out, err = process.communicate(timeout=seconds)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def job(self, action: str, *words: str, seconds: float = 200, **variables: str) -> Any:
        """Run `pertcast job ACTION` in the client's box to its end."""
        return self.pertcast("job", action, "--address", DASHBOARD, *words, seconds=seconds, **variables)

    def alive(self) -> set[str]:
        """Return the boxes whose Ray the head counts as alive."""
        with self.client.entered():
            answer = httpx.get(
                f"{DASHBOARD}/api/v0/nodes", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=20
            )
        rows = answer.raise_for_status().json()["data"]["result"]["result"]
        names = {address: name for name, address in ADDRESSES.items()}
        return {names[row["node_ip"]] for row in rows if row["state"] == "ALIVE"}

    def await_alive(self, *names: str, seconds: float = 90) -> float:
        """Wait until just these boxes are alive; returns the seconds."""
        began = time.monotonic()

        def are_alive() -> bool:
            try:
                return self.alive() == set(names)
            except httpx.HTTPError:
                return False

        assert wait_for(are_alive, seconds), (names, self.said())
        return time.monotonic() - began

    def said(self) -> str:
        """Return the ends of what the boxes' Rays said."""
        logs = [box.log for box in self.boxes.values() if box.log.exists()]
        return "\n".join(f"{log.name}: {log.read_text()[-500:]}" for log in logs)

    def end(self) -> None:
        """End all boxes and all that runs in them."""
        for box in self.boxes.values():
            box.space.end()
            if box.ray is not None:
                box.ray.wait()
        self.switch.end()


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Return whether a condition comes true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.2)
    return False


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
        cluster.start_ray("head", "--num-cpus", "0")
        cluster.await_alive("head")
        for name in names:
            cluster.start_ray(name, "--num-cpus", "1")
        cluster.await_alive("head", *names)
        yield cluster
    finally:
        cluster.end()
