"""What Ray Tune asks for trials: draws them from the records, and notes there how they end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from pertcast_jobs.run_config import SearchConfig, SweepConfig
from pertcast_jobs.tune.records import Records, TrialRecord, trial_name
from pertcast_jobs.tune.space import suggest

_NO_LAST_EPOCH = 1_000_000
"""ASHA must not end a trial at its own last epoch: the trial still has its bundle to write."""


class RecordedSearch(Searcher):  # type: ignore[misc]
    """Hands out the trials that have not ended yet, those that were begun before with their values.

    Parameters
    ----------
    sweep
        Space and search.
    records
        The sweep's memory; Ray's own is not needed to continue a sweep.
    """

    def __init__(self, sweep: SweepConfig, records: Records) -> None:
        super().__init__()
        self._sweep, self._records = sweep, records
        self._waiting = list(records.waiting(sweep.search.trials))
        self._number_of: dict[str, int] = {}

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Take no space from Tune: it is in the sweep's configuration."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the number of the next trial, its values written down."""
        if not self._waiting:
            finished: str = Searcher.FINISHED
            return finished
        number = self._waiting.pop(0)
        self._number_of[trial_id] = number
        self._records.write(self._begun(number))
        return {"number": number}

    def _begun(self, number: int) -> TrialRecord:
        before = self._records.read(number)
        if before is not None:
            return TrialRecord(number, before.values)
        known = self._records.read_all(self._sweep.search.trials)
        return TrialRecord(number, suggest(number, self._sweep.space, self._sweep.search, known))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Note how a trial ended, unless its folder says that it is done or it noted itself why it failed."""
        record = self._records.read(self._number_of[trial_id])
        assert record is not None
        if record.status != "begun":
            return
        if error or result is None:
            self._records.write(replace(record, status="failed"))
        else:
            self._records.write(replace(record, status="stopped", metrics=_told(result)))

    def save(self, checkpoint_path: str) -> None:
        """Write nothing of worth: what is remembered is in the records."""
        Path(checkpoint_path).write_text("see ../records\n", encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Take nothing: what is remembered is in the records."""


def _told(result: dict[str, Any]) -> dict[str, float]:
    """Return what a trial itself reported at a validation."""
    return {
        name: float(value)
        for name, value in result.items()
        if name in ("epoch", "global_step") or name.startswith("validation_")
    }


def scheduler(search: SearchConfig) -> TrialScheduler:
    """Return what ends trials early, or lets them all finish."""
    if search.scheduler == "none":
        return FIFOScheduler()
    return ASHAScheduler(
        metric="validation_loss",
        mode="min",
        time_attr="epoch",
        max_t=_NO_LAST_EPOCH,
        grace_period=search.grace_epochs,
        reduction_factor=search.reduction,
    )


class Silence(TrialProgressCallback):  # type: ignore[misc]
    """Stands where Tune would put its own: with verbose=0 that still prints a trial without any result."""

    def _print(self, msg: str) -> None:
        """Print nothing: standard output is the command's."""

    def log_result(self, trial: Any, result: dict[str, Any], error: bool = False) -> None:
        """Print nothing."""


def trial_folder_name(trial: Any) -> str:
    """Return the name of a trial's folder in Tune's own storage: that of its run."""
    return trial_name(int(trial.config["number"]))
