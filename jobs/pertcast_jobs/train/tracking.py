"""A run followed in MLflow by a thread that training never waits for.

A tracking server that is away, slow or broken costs a warning and the curves there; the run folder has all.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pertcast.training.reports import ReportCallback, TrainReport, ignore_report

from pertcast_jobs.run_config import RunConfig
from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.train.mlflow_run import MlflowRun, Status

log = logging.getLogger(__name__)

_HELD = 2_000
"""Entries that wait for a server at most; later ones are left out until it answers."""
_LAST_WAIT_S = 10.0
"""How long the end of a training waits for the rest to be sent..."""
_LAST_WAIT_WHILE_AWAY_S = 1.0
"""... and to a server that does not take anything."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0

Entry = Callable[[MlflowRun], None]


class TrackingThread:
    """Sends entries in order, each until it is taken; never raises and never blocks who hands them in.

    Parameters
    ----------
    connect
        Opens the run; called in the thread, again after a failure.
    held
        Entries that wait at most.
    """

    def __init__(self, connect: Callable[[], MlflowRun], held: int = _HELD) -> None:
        self._connect = connect
        self._run: MlflowRun | None = None
        self._entries: queue.Queue[Entry | None] = queue.Queue(maxsize=held)
        self._left_out = 0
        self._gives_up = threading.Event()
        self._has_warned = self._is_away = False
        self._thread = threading.Thread(target=self._work, name="pertcast-tracking", daemon=True)
        self._thread.start()

    def send(self, entry: Entry | None) -> None:
        """Hand in an entry (None: the last one); it is left out where too many wait."""
        try:
            self._entries.put_nowait(entry)
        except queue.Full:
            self._left_out += 1

    def close(self, wait_s: float = _LAST_WAIT_S) -> None:
        """Give what still waits `wait_s` seconds to be sent, then let it go."""
        began = time.monotonic()
        self.send(None)
        while self._thread.is_alive() and time.monotonic() - began < wait_s:
            self._thread.join(0.05)
            if self._is_away and time.monotonic() - began > _LAST_WAIT_WHILE_AWAY_S:
                break
        self._gives_up.set()
        missing = self._left_out + self._entries.qsize()
        if missing or self._thread.is_alive():
            log.warning("MLflow did not take all of this run's entries; the run folder has them.")

    def _work(self) -> None:
        while (entry := self._entries.get()) is not None:
            pause = _FIRST_PAUSE_S
            while not self._sent(entry):
                if self._gives_up.wait(pause):
                    return
                pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _sent(self, entry: Entry) -> bool:
        try:
            self._run = self._run or self._connect()
            entry(self._run)
        except Exception as error:  # noqa: BLE001 (whatever a tracker does, training goes on)
            self._is_away = True
            if not self._has_warned:
                self._has_warned = True
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                log.warning("MLflow does not take this run's entries, training goes on: %s", reason)
            return False
        self._is_away = False
        return True


@contextmanager
def tracked(config: RunConfig, folder: RunFolder, rank: int = 0) -> Iterator[ReportCallback]:
    """Yield what takes a rank's reports to MLflow while the block trains; rank 0 alone sends any.

    A block that is interrupted or fails marks the run as killed or failed; one that ends leaves it running,
    for the bundle is still to be written (`track_bundle`).
    """
    if config.tracking.mlflow_uri is None or rank != 0:
        yield ignore_report
        return
    thread = TrackingThread(lambda: MlflowRun(config, folder))
    thread.send(lambda run: run.status("RUNNING"))

    def report(news: TrainReport) -> None:
        at = time.time()
        if news.kind != "statistics":
            thread.send(lambda run: run.metrics(news.scalars(), news.global_step, at))

    outcome: Status | None = None
    try:
        yield report
    except BaseException as error:
        outcome = "FAILED" if isinstance(error, Exception) else "KILLED"
        raise
    finally:
        if outcome is not None:
            status = outcome
            thread.send(lambda run: run.status(status))
        thread.close()


def track_bundle(config: RunConfig, folder: RunFolder) -> None:
    """Tell MLflow where the finished run's bundle is, and that it is finished."""
    if config.tracking.mlflow_uri is None:
        return
    thread = TrackingThread(lambda: MlflowRun(config, folder))

    def finish(run: MlflowRun) -> None:
        manifest = folder.manifest()
        validation = manifest.result["validation"]
        if validation:
            values = {f"final/validation_{name}": value for name, value in validation.items()}
            run.metrics(values, manifest.result["global_step"], time.time())
        run.tags({"pertcast.bundle": folder.bundle_path})
        run.status("FINISHED")

    thread.send(finish)
    thread.close()
