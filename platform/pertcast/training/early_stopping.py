"""When a stage has learned enough: the best held-out loss and how long ago it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class EarlyStopping:
    """State of early stopping; immutable, so that a checkpoint holds exactly what it saw.

    Attributes
    ----------
    best_loss, best_epoch
        Lowest held-out "loss" so far and its epoch; None before the first validation.
    best_losses
        All held-out loss terms of that epoch.
    n_worse
        Validations since then that were not better.
    """

    best_loss: float | None = None
    best_epoch: int | None = None
    best_losses: Mapping[str, float] | None = None
    n_worse: int = 0

    def improves(self, losses: Mapping[str, float]) -> bool:
        """Whether `losses["loss"]` is lower than any before."""
        return self.best_loss is None or losses["loss"] < self.best_loss

    def after(self, epoch: int, losses: Mapping[str, float]) -> EarlyStopping:
        """Return the state after the validation of `epoch`."""
        if self.improves(losses):
            return EarlyStopping(losses["loss"], epoch, dict(losses), 0)
        return replace(self, n_worse=self.n_worse + 1)

    def is_exhausted(self, patience: int | None) -> bool:
        """Whether `patience` validations in a row were not better."""
        return patience is not None and self.n_worse >= patience

    def to_json(self) -> dict[str, Any]:
        """Return the state as plain JSON."""
        return {
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "best_losses": None if self.best_losses is None else dict(self.best_losses),
            "n_worse": self.n_worse,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> EarlyStopping:
        """Return the state that `to_json` wrote."""
        return cls(**content)
