"""How far single cells lie from their condition's predicted mean, gene by gene."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from pertcast.models.batch import Batch
from pertcast.models.contract import StatisticsStage


class SpreadStage(StatisticsStage):
    """Measures the sd of training rows around the mean that the displacement alone predicts.

    Parameters
    ----------
    spread
        (G,) buffer, filled by `finish`.
    mean
        Batch -> (N, G) predicted responses.
    """

    name = "spread"

    def __init__(self, spread: Tensor, mean: Callable[[Batch], Tensor]) -> None:
        self.spread = spread
        self.mean = mean

    def start(self) -> dict[str, Tensor]:
        """Return zeroed sums, float64."""
        return {
            "squares": torch.zeros(len(self.spread), dtype=torch.float64),
            "rows": torch.zeros(1, dtype=torch.float64),
        }

    @torch.no_grad()
    def update(self, sums: dict[str, Tensor], batch: Batch) -> None:
        """Add one batch."""
        sums["squares"] += (batch.target - self.mean(batch)).double().square().sum(dim=0)
        sums["rows"] += len(batch)

    def finish(self, sums: Mapping[str, Tensor]) -> None:
        """Store the sd."""
        self.spread.copy_((sums["squares"] / sums["rows"].clamp(min=1)).sqrt())
