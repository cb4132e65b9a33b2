"""The closed-form stage of the displacement: latent means of the training conditions, then its solution."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from pertcast.models.batch import Batch
from pertcast.models.contract import StatisticsStage
from pertcast.models.layers.latents.autoencoder import Autoencoder
from pertcast.models.module_flow.displacement.displacement import Displacement
from pertcast.models.module_flow.displacement.effects import ConditionMeans


class DisplacementStage(StatisticsStage):
    """Collects the conditions' mean latents and their spread, and solves the displacement.

    Parameters
    ----------
    displacement
        Solved by `finish`.
    autoencoder
        Frozen by now.
    latents
        Batch -> (N, D) standardised latents of its rows.
    control_latents
        () -> (D,) mean latent of the controls, from which rows are displaced.
    n_conditions
        C.
    """

    name = "displacement"

    def __init__(
        self,
        displacement: Displacement,
        autoencoder: Autoencoder,
        latents: Callable[[Batch], Tensor],
        control_latents: Callable[[], Tensor],
        n_conditions: int,
    ) -> None:
        self.displacement = displacement
        self.autoencoder = autoencoder
        self.latents = latents
        self.control_latents = control_latents
        self.n_conditions = n_conditions
        self._facts: dict[str, float] = {}

    def start(self) -> dict[str, Tensor]:
        """Return zeroed sums, float64."""
        shapes = {
            "sum": (self.n_conditions, self.autoencoder.latent_dim),
            "square": (self.autoencoder.latent_dim,),
            "count": (self.n_conditions,),
        }
        return {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}

    @torch.no_grad()
    def update(self, sums: dict[str, Tensor], batch: Batch) -> None:
        """Add one batch."""
        inside = batch.condition_index >= 0
        latents = self.latents(batch)[inside].to(sums["sum"])
        index = batch.condition_index[inside]
        sums["sum"].index_add_(0, index, latents)
        sums["square"] += latents.square().sum(dim=0)
        sums["count"].index_add_(0, index, torch.ones_like(latents[:, 0]))

    def finish(self, sums: Mapping[str, Tensor]) -> None:
        """Encode the controls, and solve unless the flow is to learn everything by itself."""
        still = self.control_latents()
        if self.displacement.config.kind == "none":
            return
        count = sums["count"]
        mean = sums["sum"] / count.clamp(min=1).unsqueeze(1)
        within = sums["square"] - (count.unsqueeze(1) * mean.square()).sum(dim=0)
        freedom = (count.sum() - (count > 0).sum()).clamp(min=1)
        noise = (within / freedom).clamp(min=1e-9)
        active = self.autoencoder.active.to(mean)
        displaced = (mean - still.to(mean)) * active
        scale = self.autoencoder.dimension_weight().to(mean).clamp(min=0).sqrt()
        scale = scale / scale.max().clamp(min=1e-12)
        found = self.displacement.solve(ConditionMeans(displaced, count, noise), scale.clamp(min=1e-4))
        self._facts = {
            "left_out_effect_r2": found.left_out_r2,
            "left_out_interaction_r2": found.left_out_excess_r2,
        }

    def facts(self) -> dict[str, float]:
        """Return how well left-out perturbations and left-out sets are predicted within training."""
        return self._facts
