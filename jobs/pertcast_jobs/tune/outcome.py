"""What a sweep found: one row a trial, ranked, and the best trial's bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

TrialStatus = Literal["done", "stopped", "failed"]


@dataclass(frozen=True)
class TrialOutcome:
    """One trial.

    Attributes
    ----------
    trial
        The trial's id, and the name of its run folder.
    status
        "done": trained to its end; "stopped": ended early by the scheduler; "failed": ended with an error.
    values
        What was tried, by dotted key.
    objective
        The metric the sweep ranks by; of the kept weights for a trial that is done; None if it failed.
    epochs
        Epochs trained.
    error
        First line of the error of a failed trial.
    """

    trial: str
    status: TrialStatus
    values: Mapping[str, Any]
    objective: float | None
    epochs: int
    error: str | None = None


@dataclass(frozen=True)
class SweepOutcome:
    """A finished sweep.

    Attributes
    ----------
    path
        The sweep's folder.
    metric, mode
        What it ranked by.
    trials
        Best first, failed ones last.
    best
        Id of the best trial that is done.
    bundle
        Its bundle, copied to the sweep's folder.
    """

    path: Path
    metric: str
    mode: str
    trials: tuple[TrialOutcome, ...]
    best: str
    bundle: Path

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as plain JSON."""
        return {
            "path": str(self.path),
            "metric": self.metric,
            "mode": self.mode,
            "best": self.best,
            "bundle": str(self.bundle),
            "trials": [asdict(trial) for trial in self.trials],
        }

    def table(self) -> list[tuple[str, ...]]:
        """Return a header and one row a trial: id, status, objective, epochs and the values tried."""
        keys = sorted({key for trial in self.trials for key in trial.values})
        rows = [
            (
                trial.trial,
                trial.status,
                _cell(trial.objective),
                _cell(trial.epochs),
                *(_cell(trial.values.get(key)) for key in keys),
            )
            for trial in self.trials
        ]
        names = (key.removeprefix("model.config.") for key in keys)
        return [("trial", "status", self.metric, "epochs", *names), *rows]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def held_out_metrics(validation: Mapping[str, float]) -> dict[str, float]:
    """Return the held-out losses of a run's kept weights under the names that sweeps rank by."""
    return {f"validation_{name}": value for name, value in validation.items()}


def ranked(trials: Sequence[TrialOutcome], mode: str) -> tuple[TrialOutcome, ...]:
    """Return the trials that are done first, best first; then stopped ones; then failed ones."""
    order = {"done": 0, "stopped": 1, "failed": 2}
    sign = 1.0 if mode == "min" else -1.0

    def key(trial: TrialOutcome) -> tuple[int, float, str]:
        objective = float("inf") if trial.objective is None else sign * trial.objective
        return order[trial.status], objective, trial.trial

    return tuple(sorted(trials, key=key))
