"""What a Ray run does about workers that end: which are replaced, which end the run, and what is told."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray.train
from pertcast.training.events import EventLog
from pertcast_data.errors import PertcastError, Preempted
from ray.train.v2.api.exceptions import ControllerError, PreemptionError
from ray.train.v2.api.preemption import PreemptionInfo

from pertcast_jobs.run_folder import RunFolder

log = logging.getLogger(__name__)


class TrainingFailed(PertcastError):
    """Workers failed more often than the run allows."""


class JudgesFailures(ray.train.UserCallback):  # type: ignore[misc]
    """Tells Ray's controller which failures are no accidents, and writes all of them to `events.jsonl`.

    What Pertcast itself raises (a configuration, a loss that is not finite, storage that stays away) would
    only happen again: it ends the run. A stop that left a checkpoint behind does not count as a failure.

    Parameters
    ----------
    run_path
        The run's folder.
    """

    def __init__(self, run_path: Path) -> None:
        self._run_path = run_path

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Raise what Ray shall take the failure for; nothing for an accident.

        Raises
        ------
        PertcastError
            A worker's: Ray ends the run with it.
        PreemptionError
            Ray starts the group again without counting.
        """
        reasons = "; ".join(f"worker {rank}: {last_line(e)}" for rank, e in sorted(worker_exceptions.items()))
        EventLog(self._run_path).write("workers_lost", 0, reasons, ranks=len(worker_exceptions))
        for error in worker_exceptions.values():
            if isinstance(error, PertcastError):
                raise error
        if any(isinstance(error, Preempted) for error in worker_exceptions.values()):
            raise PreemptionError(PreemptionInfo(deadline_ms=None, preempted_node_to_ranks={}))


def last_line(error: BaseException) -> str:
    """Return the line of an error that says most: the last one of a traceback."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def training_error(error: ray.train.TrainingFailedError, run: RunFolder) -> PertcastError:
    """Return what to raise for a failed run: a worker's own Pertcast error, or the reasons and the remedy."""
    if isinstance(error, ControllerError) and isinstance(error.controller_failure, PertcastError):
        return error.controller_failure
    failures: Mapping[int, BaseException] = getattr(error, "worker_failures", {})
    reasons = [f"worker {rank}: {last_line(failure)}" for rank, failure in sorted(failures.items())]
    return TrainingFailed(
        f"The workers of {run.path} failed too often: {'; '.join(reasons) or last_line(error)}. Mend it and "
        f"continue with `pertcast train {run.config_path} --out {run.path} --resume`."
    )
