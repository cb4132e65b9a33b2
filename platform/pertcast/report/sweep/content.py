"""What the report of a sweep is made from: plain values, so that whoever ran it needs no figure code."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

AXES: Final = MappingProxyType(
    {
        "advantage": "advantage ({scored_by}, model - best baseline)",
        "score": "{scored_by} of the model",
        "cost": "training cost (floating-point operations)",
        "parameters": "parameters",
        "seconds": "training time (s)",
    }
)
"""Metric of a trial -> what an axis says."""


@dataclass(frozen=True)
class SweepTrial:
    """One trial.

    Attributes
    ----------
    name
        Its number, as its folder is called.
    status
        "done", "stopped" (by the scheduler) or "failed".
    reason
        Why it was stopped or failed, or "".
    values
        What was tried, by dotted key.
    metrics
        What it reported: advantage, advantage_low, advantage_high, score, cost, seconds, parameters, epoch
        and held-out losses; those of its last validation where it was stopped.
    is_on_front
        Whether no other trial is at least as good in every objective and better in one.
    curve
        (epoch, held-out loss) of its last stage.
    """

    name: str
    status: str
    reason: str
    values: Mapping[str, Any]
    metrics: Mapping[str, float]
    is_on_front: bool
    curve: tuple[tuple[int, float], ...]

    @property
    def is_done(self) -> bool:
        """Whether it was trained to its end and scored."""
        return self.status == "done"

    def metric(self, name: str) -> float:
        """Return a metric, NaN where it was not reported."""
        return self.metrics.get(name, math.nan)


@dataclass(frozen=True)
class SweepContent:
    """A finished sweep.

    Attributes
    ----------
    model
        Title of the model.
    provenance
        One line: data, split, counts.
    scored_by
        The metric that advantage is in.
    objectives
        (metric, "min" or "max"), the most important first.
    trials
        Best first, stopped ones behind, failed ones last; at least one is done, and the first is the best.
    baselines
        Title -> mean score on the validation conditions.
    best_baseline
        Title of the best of them.
    n_perturbations
        Distinct perturbations of the validation conditions: what intervals are resampled over.
    search
        How trials were drawn and ended, in words.
    evaluate
        The command that judges the best trial on the test conditions.
    footer
        The command that made the sweep.
    """

    model: str
    provenance: str
    scored_by: str
    objectives: tuple[tuple[str, str], ...]
    trials: tuple[SweepTrial, ...]
    baselines: Mapping[str, float]
    best_baseline: str
    n_perturbations: int
    search: str
    evaluate: str
    footer: str = ""

    @property
    def best(self) -> SweepTrial:
        """The best trial."""
        return self.trials[0]

    @property
    def done(self) -> tuple[SweepTrial, ...]:
        """The trials that were trained to their end, best first."""
        return tuple(trial for trial in self.trials if trial.is_done)

    @property
    def parameters(self) -> tuple[str, ...]:
        """What was tried, in the order of the space."""
        return tuple(dict.fromkeys(key for trial in self.trials for key in trial.values))

    def axis(self, metric: str) -> str:
        """Return what an axis of a metric says."""
        text = AXES.get(metric, metric.replace("validation_", "held-out "))
        return text.format(scored_by=self.scored_by)


def short_key(key: str) -> str:
    """Return a key of the configuration without what all keys of a model share."""
    return key.removeprefix("model.config.")
