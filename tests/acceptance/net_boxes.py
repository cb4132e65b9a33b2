"""Machines that are namespaces of the kernel: own network, processes, host name, /tmp/ray and /dev/shm.

They see this machine's files, as nodes see storage that they share.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]

_NEW_NETWORK: Final = 0x40000000
"""CLONE_NEWNET of sched.h."""
_INIT: Final = "sleep infinity & wait"
"""As process 1, bash takes in what others leave behind."""

ADDRESSES: Final[Mapping[str, str]] = {
    "client": "10.77.0.9",
    "head": "10.77.0.10",
    **{f"node{number}": f"10.77.0.{10 + number}" for number in range(1, 5)},
}


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


def mac(name: str) -> str:
    """Return the hardware address of a box."""
    return f"02:77:00:00:00:{int(ADDRESSES[name].rsplit('.', 1)[1]):02x}"


def check(command: Sequence[str]) -> None:
    """Run a command, which must succeed."""
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
        check(self.command(["sh", "-ec", script]))

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

    def end(self) -> None:
        """End the box and all that runs in it."""
        self.space.end()
        if self.ray is not None:
            self.ray.wait()

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
