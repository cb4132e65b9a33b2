"""The loss that trains the autoencoder over gene modules: squared error of treated and control cells."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from pertcast.models.batch import Batch
from pertcast.models.layers.latents.fitting import StandardisedTargets
from pertcast.models.module_flow.autoencoder_config import GeneAutoencoderConfig
from pertcast.models.module_flow.gene_autoencoder import GeneAutoencoder
from pertcast.models.noise import KeyedNoise

_STREAM_CONTROL, _STREAM_HIDDEN = 501, 502


class GeneAutoencoderLoss(nn.Module):
    """Squared error of restoring cells, a gene.

    In training each row gives way to a control cell with a fixed probability, and a share of the genes is
    hidden from the encoder; both follow from (seed, step, sample). In evaluation neither happens: the stage
    stops early by the run's validation rows, treated cells of its training part and never test cells.

    Only the autoencoder is a submodule: standardising and the controls hold no parameters and stay float32.

    Parameters
    ----------
    autoencoder
        Trained.
    targets
        Standardises rows.
    controls
        (M, G) float32 responses of training controls: each minus the mean of its control group. They are
        standardised as the row is whose place they take.
    config
        Shares of controls and of hidden genes.
    """

    def __init__(
        self,
        autoencoder: GeneAutoencoder,
        targets: StandardisedTargets,
        controls: Tensor,
        config: GeneAutoencoderConfig,
    ) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.control_share = config.control_share if len(controls) else 0.0
        self.mask_share = config.mask_share
        self._outside = (targets, controls)

    def forward(self, batch: Batch, noise: KeyedNoise) -> dict[str, Tensor]:
        """Return "loss", the mean squared error over rows and genes."""
        target = self._outside[0](self.with_controls(batch, noise) if self.training else batch)
        latents = self.autoencoder.latents_of(self._masked(target, batch, noise), noise, batch.sample_id)
        restored = self.autoencoder.restored(latents, noise, batch.sample_id)
        return {"loss": (target - restored).square().mean()}

    def with_controls(self, batch: Batch, noise: KeyedNoise) -> Batch:
        """Return the batch with some rows' responses replaced by those of control cells.

        Rows are replaced, not added, so that shapes are fixed and a step costs the same.
        """
        if self.control_share == 0:
            return batch
        controls = self._outside[1]
        draws = noise.uniform(batch.sample_id, 2, _STREAM_CONTROL)
        chosen = (draws[:, 1] * len(controls)).long().clamp(max=len(controls) - 1)
        drawn = controls[chosen.to(controls.device)].to(batch.target)
        return replace(batch, target=torch.where(draws[:, :1] < self.control_share, drawn, batch.target))

    def _masked(self, target: Tensor, batch: Batch, noise: KeyedNoise) -> Tensor:
        """Return the rows with genes hidden (at their mean), the others scaled up to keep the sums."""
        if not self.training or self.mask_share == 0:
            return target
        kept = noise.uniform(batch.sample_id, target.shape[1], _STREAM_HIDDEN) >= self.mask_share
        return target * (kept / (1 - self.mask_share))
