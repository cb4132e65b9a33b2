"""What mean and scale leave of the latents: measured in closed form, then learnt by the diffusion."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pertcast.models.batch import Batch
from pertcast.models.contract import StatisticsStage
from pertcast.models.latent_diffusion.network import ResponseHeads
from pertcast.models.layers.latents.autoencoder import Autoencoder
from pertcast.models.layers.latents.fitting import StandardisedTargets
from pertcast.models.layers.scaling import Scaling
from pertcast.models.noise import KeyedNoise


class ResidualStage(StatisticsStage):
    """Measures what mean and scale leave of the latents of the training rows, so that it has unit variance.

    Parameters
    ----------
    heads
        Mean and scale, trained; `residual_sd` is filled by `finish`.
    autoencoder, scaling, targets
        What the latents are made by.
    """

    name = "residual"

    def __init__(
        self,
        heads: ResponseHeads,
        autoencoder: Autoencoder,
        scaling: Scaling,
        targets: StandardisedTargets,
    ) -> None:
        self.heads = heads
        self.parts = (autoencoder, scaling, targets)

    def start(self) -> dict[str, Tensor]:
        """Return zeroed sums, float64."""
        sizes = {"squares": self.parts[0].latent_dim, "rows": 1}
        return {name: torch.zeros(size, dtype=torch.float64) for name, size in sizes.items()}

    @torch.no_grad()
    def update(self, sums: dict[str, Tensor], batch: Batch) -> None:
        """Add one batch, under the dropout that the scale was fitted with."""
        self.heads.train()
        left = latent_residual(batch, KeyedNoise(0), self.heads, *self.parts)[0]
        self.heads.eval()
        sums["squares"] += left.double().square().sum(dim=0)
        sums["rows"] += len(batch)

    def finish(self, sums: Mapping[str, Tensor]) -> None:
        """Store the sd, on top of what was there."""
        left = (sums["squares"] / sums["rows"].clamp(min=1)).sqrt()
        active = self.parts[0].active.bool()
        self.heads.residual_sd.mul_(torch.where(active, left, 1.0).clamp(min=1e-3))


@torch.no_grad()
def latent_residual(
    batch: Batch,
    noise: KeyedNoise,
    heads: ResponseHeads,
    autoencoder: Autoencoder,
    scaling: Scaling,
    targets: StandardisedTargets,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (N, D) latents with mean and scale taken off, (N, D) latents, and (N, W) of the trunk."""
    latent = autoencoder.encode(targets(batch))
    found = heads(batch.conditions, scaling.standardise_basal(batch.basal), noise, batch.sample_id)
    return (latent - found.mean) * torch.exp(-found.log_scale), latent, found.hidden
