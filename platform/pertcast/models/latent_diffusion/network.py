"""What a condition says of the latents: their mean and scale, and a vector that the denoiser is told."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from pertcast.models.batch import ConditionBatch, ModelSpace
from pertcast.models.latent_diffusion.config import LatentDiffusionConfig
from pertcast.models.layers.condition_trunk import ConditionTrunk
from pertcast.models.noise import KeyedNoise

LOG_SCALE_RANGE = (-4.0, 2.0)


class LatentResponse(NamedTuple):
    """Standardised latents of N conditions, as far as mean and scale go.

    Attributes
    ----------
    hidden
        (N, W) what the trunk made of the condition.
    mean, log_scale
        (N, D) float32 mean and logarithm of the sd.
    """

    hidden: Tensor
    mean: Tensor
    log_scale: Tensor

    @property
    def scale(self) -> Tensor:
        """(N, D) sd of the latents given the condition."""
        return self.log_scale.exp()

    def take(self, rows: slice) -> LatentResponse:
        """Return the conditions at `rows`."""
        return LatentResponse(self.hidden[rows], self.mean[rows], self.log_scale[rows])


class ResponseHeads(nn.Module):
    """Trunk with heads for the conditional mean and scale of the latents.

    The heads start at zero: an untrained network predicts the centre with the training spread. The scale is
    read off the detached trunk, so that fitting it never moves the mean.

    Attributes
    ----------
    residual_sd
        (D,) sd that the scale leaves over all training rows, which it is multiplied by; 1 until measured.
    """

    residual_sd: Tensor

    def __init__(
        self,
        config: LatentDiffusionConfig,
        latent_dim: int,
        space: ModelSpace,
        conditions: ConditionBatch,
    ) -> None:
        super().__init__()
        width = config.condition.width
        self.trunk = ConditionTrunk(config.condition, space, conditions)
        self.mean = nn.Linear(width, latent_dim)
        self.log_scale = nn.Linear(width, latent_dim)
        self.register_buffer("residual_sd", torch.ones(latent_dim))
        for layer in (self.mean, self.log_scale):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        conditions: ConditionBatch,
        basal: Tensor,
        noise: KeyedNoise | None = None,
        keys: Tensor | None = None,
    ) -> LatentResponse:
        """Return mean and scale of the latents of N conditions.

        Parameters
        ----------
        conditions
            N conditions.
        basal
            (N, G) standardised basal profiles.
        noise, keys
            Source of the dropout masks and the rows' sample ids; training only.
        """
        hidden = self.trunk.hidden(conditions, basal, noise, keys)
        log_scale = self.log_scale(hidden.detach()).float().clamp(*LOG_SCALE_RANGE)
        return LatentResponse(hidden, self.mean(hidden).float(), log_scale + self.residual_sd.float().log())
