"""A command in a process of its own, watched from outside: wall and CPU seconds and memory of all it starts.

What it starts is told apart into the driver (the process itself), workers (Ray's, which hold a bundle) and
the services around them.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import psutil

_EVERY_S: Final = 0.1
_WORKER_NAMES: Final = ("ray::", "Serve")
_IDLE: Final = "IDLE"


@dataclass
class Watched:
    """What was seen of a command.

    Attributes
    ----------
    started, ended
        Seconds since the epoch.
    at, cpu_s, driver_mb, worker_mb, tree_mb
        A number a sample: when, CPU seconds of the tree so far, resident memory of the driver, of the largest
        worker and of all processes (pages that several share count in each).
    worker_peaks
        Process id -> largest resident memory of a worker, MB.
    output
        Standard output and standard error of the command.
    """

    started: float = 0.0
    ended: float = 0.0
    at: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    driver_mb: list[float] = field(default_factory=list)
    worker_mb: list[float] = field(default_factory=list)
    tree_mb: list[float] = field(default_factory=list)
    worker_peaks: dict[int, float] = field(default_factory=dict)
    output: str = ""

    @property
    def wall_s(self) -> float:
        """Wall seconds."""
        return self.ended - self.started

    def cpu_until(self, moment: float) -> float:
        """CPU seconds of the tree until a moment."""
        return float(np.interp(moment, [self.started, *self.at], [0.0, *self.cpu_s]))

    def peak_between(self, first: float, last: float) -> float:
        """Largest resident memory of the driver between two moments, MB; 0 where no sample fell there."""
        at = np.array(self.at)
        chosen = (at >= first) & (at <= last)
        return float(np.array(self.driver_mb)[chosen].max(initial=0.0))


def watch(command: Sequence[str], log: Path) -> Watched:
    """Run a command to its end and sample it ten times a second.

    Parameters
    ----------
    command
        Program and arguments.
    log
        File for what it prints.

    Raises
    ------
    SystemExit
        The command failed; says what it printed last.
    """
    found = Watched(started=time.time())
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
        ended = threading.Event()
        sampler = threading.Thread(target=_sample, args=(psutil.Process(process.pid), found, ended))
        sampler.start()
        try:
            code = process.wait()
        finally:
            ended.set()
            sampler.join()
            if process.poll() is None:
                process.terminate()
    found.ended = time.time()
    found.output = log.read_text(encoding="utf-8", errors="replace")
    if code:
        raise SystemExit(f"{' '.join(command)} ended with {code}:\n{found.output[-2000:]}")
    return found


def _sample(root: psutil.Process, found: Watched, ended: threading.Event) -> None:
    seconds: dict[int, float] = {}
    while not ended.wait(_EVERY_S):
        driver = worker = tree = 0.0
        for process in _tree(root):
            try:
                with process.oneshot():
                    memory = process.memory_info().rss / 1e6
                    times = process.cpu_times()
                    title = " ".join(process.cmdline()[:1])
            except psutil.Error:
                continue
            seconds[process.pid] = times.user + times.system
            tree += memory
            if process.pid == root.pid:
                driver = memory
            elif title.startswith(_WORKER_NAMES) and _IDLE not in title:
                worker = max(worker, memory)
                found.worker_peaks[process.pid] = max(memory, found.worker_peaks.get(process.pid, 0.0))
        if driver:
            found.at.append(time.time())
            found.cpu_s.append(sum(seconds.values()))
            found.driver_mb.append(driver)
            found.worker_mb.append(worker)
            found.tree_mb.append(tree)


def _tree(root: psutil.Process) -> list[psutil.Process]:
    try:
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []
