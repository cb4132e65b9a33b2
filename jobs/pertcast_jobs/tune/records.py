"""What a sweep remembers of its trials: one small file a trial, written before the trial begins.

A sweep is continued from these files alone: what was drawn stays, and what ended is not run again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pertcast.training.files import write_json
from pertcast_data.errors import ConfigError

from pertcast_jobs.run_folder import RunFolder

TrialStatus = Literal["begun", "done", "stopped", "failed"]

SCORE_FILE = "score.json"
"""In a trial's run folder, beside its bundle: what `pertcast_jobs.tune.score` found."""


@dataclass(frozen=True)
class TrialRecord:
    """One trial.

    Attributes
    ----------
    number
        From 0; the trial's folders are named after it.
    values
        What is tried, by dotted key.
    status
        "begun"; "done": trained to its end and scored; "stopped": ended early by the scheduler; "failed":
        ended with an error.
    metrics
        What it reported last; of the kept weights for a trial that is done.
    error
        Last line of the error of a failed trial.
    """

    number: int
    values: Mapping[str, Any]
    status: TrialStatus = "begun"
    metrics: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None

    @property
    def name(self) -> str:
        """The trial's name."""
        return trial_name(self.number)


def trial_name(number: int) -> str:
    """Return a trial's name: the name of its run folder."""
    return f"{number:03d}"


@dataclass(frozen=True)
class Records:
    """The records of the sweep at `out`; its folder is seen by every node."""

    out: Path

    def run_folder(self, number: int) -> Path:
        """Return the folder of a trial's run."""
        return self.out / "trials" / trial_name(number)

    def read(self, number: int) -> TrialRecord | None:
        """Return a trial's record, or None for one that was never begun.

        Raises
        ------
        ConfigError
            The file cannot be read.
        """
        path = self._path(number)
        try:
            record = TrialRecord(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"{path} cannot be read ({error}). Restore it, or remove it with {self.run_folder(number)} "
                "to draw this trial anew."
            ) from error
        return self._as_it_stands(record)

    def read_all(self, n_trials: int) -> tuple[TrialRecord, ...]:
        """Return the records of the trials begun among the first `n_trials`, by number."""
        found = (self.read(number) for number in range(n_trials))
        return tuple(record for record in found if record is not None)

    def waiting(self, n_trials: int) -> tuple[int, ...]:
        """Return the numbers of the trials that are still to run; those that failed are to run again."""
        ended = {each.number for each in self.read_all(n_trials) if each.status in ("done", "stopped")}
        return tuple(number for number in range(n_trials) if number not in ended)

    def write(self, record: TrialRecord) -> None:
        """Write a record, whole or not at all."""
        path = self._path(record.number)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, asdict(record))

    def _path(self, number: int) -> Path:
        return self.out / "records" / f"{trial_name(number)}.json"

    def _as_it_stands(self, record: TrialRecord) -> TrialRecord:
        """Return a record as done where the trial's folder says so: it may end after the driver died."""
        score = self.run_folder(record.number) / SCORE_FILE
        if not (score.is_file() and RunFolder.open(score.parent).is_done):
            return record
        found = json.loads(score.read_text(encoding="utf-8"))
        return replace(record, status="done", metrics=found["metrics"], error=None)
