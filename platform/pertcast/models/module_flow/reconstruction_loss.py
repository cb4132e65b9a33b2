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
_CONTROL_KEY = -(2**63)


class GeneAutoencoderLoss(nn.Module):
    r"""Squared error of restoring cells and condition means, a gene.

    .. math:: \frac1N \sum_i |e_i|^2 + \frac{w}{N} \sum_c n_c |\bar e_c|^2

    with e what is left of a row, c the conditions in the batch and n their rows: what
    `ConditionComponentsStage` minimises among linear maps. The second term wants several rows of a condition
    side by side.

    In training each row gives way to a control cell with a fixed probability (controls then count as one more
    condition), and a share of the genes may be hidden from the encoder; both follow from (seed, step,
    sample). In evaluation neither happens: the stage stops early by the run's validation rows, treated cells
    of its training part and never test cells.

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
        w, and the shares of controls and of hidden genes.
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
        self.condition_weight = config.condition_weight
        self.control_share = config.control_share if len(controls) else 0.0
        self.mask_share = config.mask_share
        self._outside = (targets, controls)

    def forward(self, batch: Batch, noise: KeyedNoise) -> dict[str, Tensor]:
        """Return "loss" = cells + condition_weight * conditions, and its two terms."""
        target, is_control = self.rows(batch, noise)
        latents = self.autoencoder.latents_of(self._masked(target, batch, noise), noise, batch.sample_id)
        left = target - self.autoencoder.restored(latents, noise, batch.sample_id)
        cells = left.square().mean()
        key = torch.where(is_control, _CONTROL_KEY, batch.conditions.key)
        together = (key.unsqueeze(0) == key.unsqueeze(1)).to(left.dtype)
        means = (together / together.sum(dim=1, keepdim=True)) @ left
        conditions = means.square().mean()
        return {
            "loss": cells + self.condition_weight * conditions,
            "cells": cells,
            "conditions": conditions,
        }

    def rows(self, batch: Batch, noise: KeyedNoise) -> tuple[Tensor, Tensor]:
        """Return (N, G) standardised rows, some of them control cells in training, and (N,) bool which.

        Rows are replaced, not added, so that shapes are fixed and a step costs the same.
        """
        targets, controls = self._outside
        if not self.training or self.control_share == 0:
            return targets(batch), torch.zeros_like(batch.sample_id, dtype=torch.bool)
        draws = noise.uniform(batch.sample_id, 2, _STREAM_CONTROL)
        is_control = draws[:, 0] < self.control_share
        chosen = (draws[:, 1] * len(controls)).long().clamp(max=len(controls) - 1)
        drawn = controls[chosen.to(controls.device)].to(batch.target)
        mixed = torch.where(is_control.unsqueeze(1), drawn, batch.target)
        return targets(replace(batch, target=mixed)), is_control

    def _masked(self, target: Tensor, batch: Batch, noise: KeyedNoise) -> Tensor:
        """Return the rows with genes hidden (at their mean), the others scaled up to keep the sums."""
        if not self.training or self.mask_share == 0:
            return target
        kept = noise.uniform(batch.sample_id, target.shape[1], _STREAM_HIDDEN) >= self.mask_share
        return target * (kept / (1 - self.mask_share))
