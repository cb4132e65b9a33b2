"""What a launcher hands back, and what a training leaves for who asked for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pertcast.training.reports import FitResult
from torch import Tensor


@dataclass(frozen=True)
class Trained:
    """A trained model as it leaves the process that trained it.

    Attributes
    ----------
    weights
        The model's state dict, on the CPU.
    result
        How training went.
    """

    weights: Mapping[str, Tensor]
    result: FitResult


@dataclass(frozen=True)
class TrainingOutcome:
    """What a finished training leaves.

    Attributes
    ----------
    run
        The run's folder.
    bundle
        The trained model's folder.
    validation
        Held-out losses of the kept weights by name; empty for models without.
    result
        Steps, seconds, stages: `FitResult` as plain JSON.
    """

    run: Path
    bundle: Path
    validation: Mapping[str, float]
    result: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as plain JSON."""
        return {
            "run": str(self.run),
            "bundle": str(self.bundle),
            "validation": dict(self.validation),
            "result": dict(self.result),
        }
