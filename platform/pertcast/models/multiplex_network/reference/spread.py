"""The spread of single profiles: what out-of-fold predictions leave of the training rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from pertcast.models.batch import Batch
from pertcast.models.contract import StatisticsStage
from pertcast.models.multiplex_network.reference.condition_types import condition_type, is_control
from pertcast.models.multiplex_network.reference.fundnn import FunDnnMembers
from pertcast.models.multiplex_network.reference.scaling import FeatureScaling, TypeScaling

_LEAST_SD: Final = 1e-6


class SpreadStage(StatisticsStage):
    """Measures the sd by type and gene around the first stage's out-of-fold predictions.

    The second stage is trained on the very rows that are at hand here; its residuals would flatter it.

    Parameters
    ----------
    sd
        (T + 1, G) buffer, filled by `finish`; the last row is over all types.
    members, features, scaling
        What predicts.
    """

    name = "spread"

    def __init__(
        self, sd: Tensor, members: FunDnnMembers, features: FeatureScaling, scaling: TypeScaling
    ) -> None:
        self.sd = sd
        self.members = members
        self.features = features
        self.scaling = scaling

    def start(self) -> dict[str, Tensor]:
        """Return zeroed sums, float64."""
        return {
            "square": torch.zeros(self.sd.shape, dtype=torch.float64),
            "count": torch.zeros(len(self.sd), dtype=torch.float64),
        }

    @torch.no_grad()
    def update(self, sums: dict[str, Tensor], batch: Batch) -> None:
        """Add the treated rows of one batch."""
        batch = batch.take(torch.nonzero(~is_control(batch.conditions)).flatten())
        kind = condition_type(batch.conditions, self.members.shape[1])
        weights = self.members.out_of_fold_weights(batch.conditions)
        predicted = self.members(self.features.summed(batch.conditions), weights)
        own = predicted[torch.arange(len(kind), device=kind.device), kind]
        left = (batch.target - self.scaling.unscale(own, kind)).to(sums["square"])
        sums["square"].index_add_(0, kind, left.square())
        sums["count"].index_add_(0, kind, torch.ones_like(kind, dtype=torch.float64))

    def finish(self, sums: Mapping[str, Tensor]) -> None:
        """Store the sd; a type without rows has that of all."""
        count = sums["count"].unsqueeze(1)
        overall = sums["square"].sum(dim=0) / count.sum().clamp(min=1)
        variance = torch.where(count > 0, sums["square"] / count.clamp(min=1), overall)
        variance[-1] = overall
        self.sd.copy_(variance.sqrt().clamp(min=_LEAST_SD))
