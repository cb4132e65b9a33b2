"""What a sweep found: one row a trial, ranked, the front, and the best trial's bundle."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pertcast_jobs.run_config import Objective

TrialStatus = Literal["done", "stopped", "failed"]


@dataclass(frozen=True)
class TrialOutcome:
    """One trial.

    Attributes
    ----------
    trial
        The trial's name, and that of its run folder.
    status
        "done": trained to its end and scored; "stopped": ended early by the scheduler; "failed": ended with
        an error.
    values
        What was tried, by dotted key.
    metrics
        What it reported: `pertcast_jobs.tune.score.scored` for a trial that is done; of its last validation
        for one that was stopped.
    is_on_front
        Whether no other trial is at least as good in every objective and better in one.
    error
        Last line of the error of a failed trial.
    """

    trial: str
    status: TrialStatus
    values: Mapping[str, Any]
    metrics: Mapping[str, float]
    is_on_front: bool = False
    error: str | None = None

    @property
    def epochs(self) -> int:
        """Epochs trained."""
        return int(self.metrics.get("epoch", 0))


@dataclass(frozen=True)
class SweepOutcome:
    """A finished sweep.

    Attributes
    ----------
    path
        The sweep's folder.
    objectives
        What it was after, the most important first.
    scored_by
        The metric that advantage is in.
    baseline
        Title of the best baseline on the validation conditions.
    trials
        Best first, stopped ones behind, failed ones last.
    best
        Name of the best trial that is done.
    bundle
        Its bundle, copied to the sweep's folder.
    report
        The HTML report.
    """

    path: Path
    objectives: tuple[Objective, ...]
    scored_by: str
    baseline: str
    trials: tuple[TrialOutcome, ...]
    best: str
    bundle: Path
    report: Path

    @property
    def front(self) -> tuple[str, ...]:
        """Names of the trials on the front, best first."""
        return tuple(trial.trial for trial in self.trials if trial.is_on_front)

    @property
    def best_trial(self) -> TrialOutcome:
        """The best trial that is done."""
        return next(trial for trial in self.trials if trial.trial == self.best)

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as plain JSON."""
        return {
            "path": str(self.path),
            "objectives": [objective.model_dump() for objective in self.objectives],
            "scored_by": self.scored_by,
            "baseline": self.baseline,
            "best": self.best,
            "front": list(self.front),
            "bundle": str(self.bundle),
            "report": str(self.report),
            "trials": [asdict(trial) for trial in self.trials],
        }

    def table(self) -> list[tuple[str, ...]]:
        """Return a header and one row a trial: name, status, front, objectives, epochs and values tried."""
        keys = list(dict.fromkeys(key for trial in self.trials for key in trial.values))
        names = [objective.metric for objective in self.objectives]
        rows = [
            (
                trial.trial,
                trial.status,
                "*" if trial.is_on_front else "",
                *(_cell(trial.metrics.get(name)) for name in names),
                str(trial.epochs),
                *(_cell(trial.values.get(key)) for key in keys),
            )
            for trial in self.trials
        ]
        short = (key.removeprefix("model.config.") for key in keys)
        return [("trial", "status", "front", *names, "epochs", *short), *rows]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def ranked(trials: Sequence[TrialOutcome], objectives: Sequence[Objective]) -> tuple[TrialOutcome, ...]:
    """Return done trials first, best first by the objectives in turn; then stopped ones; then failed ones."""
    order = {"done": 0, "stopped": 1, "failed": 2}

    def key(trial: TrialOutcome) -> tuple[int, tuple[float, ...], str]:
        return order[trial.status], _losses(trial, objectives), trial.trial

    return tuple(sorted(trials, key=key))


def front(trials: Sequence[TrialOutcome], objectives: Sequence[Objective]) -> frozenset[str]:
    """Return the names of the done trials that no other one dominates."""
    losses = {trial.trial: _losses(trial, objectives) for trial in trials if trial.status == "done"}
    return frozenset(
        name for name, own in losses.items() if not any(_dominates(other, own) for other in losses.values())
    )


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def _losses(trial: TrialOutcome, objectives: Sequence[Objective]) -> tuple[float, ...]:
    """Return the objectives so that smaller is better; infinite where unknown."""
    return tuple(-each.sign * trial.metrics.get(each.metric, -each.sign * math.inf) for each in objectives)
