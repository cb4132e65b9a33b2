r"""The denoiser: what a noisy latent says of the clean one, given the condition.

It works on latents whose conditional mean and scale are taken off: their variance is one in any condition.
The best linear guess is then :math:`a z_u` with variance :math:`b^2`; the network only learns what is not
Gaussian or not independent (preconditioning as in Karras et al. 2022, its output a v-prediction):

.. math:: \hat\rho = a z_u + a b F(z_u, u, c), \qquad \log V = 2 \log b + h(z_u, u, c)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pertcast.models.latent_diffusion.config import DenoiserConfig
from pertcast.models.latent_diffusion.samplers import Denoised

_LEVEL_FREQUENCIES = 16
_LOG_VARIANCE_SHIFT = 3.0


@dataclass(frozen=True, slots=True)
class Level:
    """Signal and noise of a level: tensors (..., 1), or numbers."""

    signal: Tensor | float
    noise: Tensor | float


class Block(nn.Module):
    """x + gate * W2 hardswish(W1 (layer_norm(x) * (1 + scale) + shift)); AdaLN-zero (Peebles & Xie 2023)."""

    def __init__(self, width: int, expansion: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.inner = nn.Linear(width, expansion * width)
        self.outer = nn.Linear(expansion * width, width)

    def forward(self, hidden: Tensor, modulation: Tensor) -> Tensor:
        """Return (..., W); `modulation` (..., 3 W) holds shift, 1 + scale and gate."""
        shift, scale, gate = modulation.chunk(3, dim=-1)
        inside = self.inner(torch.addcmul(shift, self.norm(hidden), scale))
        inside = functional.hardswish(inside, inplace=not torch.is_grad_enabled())
        return torch.addcmul(hidden, gate, self.outer(inside))


class Denoiser(nn.Module):
    """Residual network over latents, modulated by noise level and condition.

    The two are added, so each is computed once: the condition for all steps, a step for all conditions.

    Parameters
    ----------
    latent_dim
        D.
    condition_width
        Width of the condition's hidden vector.
    config
        Widths.
    """

    frequencies: Tensor

    def __init__(self, latent_dim: int, condition_width: int, config: DenoiserConfig) -> None:
        super().__init__()
        width = config.width
        self.width = width
        self.learns_variance = config.learned_variance
        self.enter = nn.Linear(latent_dim, width)
        self.blocks = nn.ModuleList(Block(width, config.expansion) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.leave = nn.Linear(width, latent_dim * (2 if config.learned_variance else 1))
        self.level = nn.Sequential(nn.Linear(2 * _LEVEL_FREQUENCIES, width), nn.SiLU())
        self.level_modulation = nn.Linear(width, self._modulation_width)
        self.condition = nn.Sequential(nn.Linear(condition_width, width), nn.SiLU())
        self.condition_modulation = nn.Linear(width, self._modulation_width, bias=False)
        steps = torch.arange(1, _LEVEL_FREQUENCIES + 1) * (math.pi / 2)
        self.register_buffer("frequencies", steps, persistent=False)
        for layer in (self.leave, self.condition_modulation, self.level_modulation):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.leave.bias)
        self._start_modulation()

    @property
    def _modulation_width(self) -> int:
        return self.width * (3 * len(self.blocks) + 3)

    @torch.no_grad()
    def _start_modulation(self) -> None:
        """Begin with shift 0, scale 1, and gates 0: the blocks add nothing."""
        bias = torch.zeros(3 * len(self.blocks) + 3, self.width)
        bias[1::3] = 1.0
        self.level_modulation.bias.copy_(bias.flatten())

    def level_part(self, level: Tensor) -> Tensor:
        """Return the (N, M) modulation of N noise levels."""
        angles = level.reshape(-1, 1) * self.frequencies
        features = torch.cat((angles.sin(), angles.cos()), dim=1)
        modulation: Tensor = self.level_modulation(self.level(features.to(self.enter.weight.dtype)))
        return modulation

    def condition_part(self, hidden: Tensor) -> Tensor:
        """Return the (N, M) modulation of N conditions from their hidden vectors (N, W); zeros: unknown."""
        told = self.condition(hidden.to(self.enter.weight.dtype))
        modulation: Tensor = self.condition_modulation(told)
        return modulation

    def forward(self, latent: Tensor, at: Level, modulation: Tensor, with_variance: bool = True) -> Denoised:
        """Return the posterior of the clean latents.

        Parameters
        ----------
        latent
            (..., D) noisy latents.
        at
            Their noise level.
        modulation
            (..., M) sum of the level's and the condition's parts.
        with_variance
            Whether the variance is asked for; it is stated only where it was learnt.
        """
        *blocks, last = torch.chunk(modulation, len(self.blocks) + 1, dim=-1)
        shift, scale, offset = last.chunk(3, dim=-1)
        hidden = self.enter(latent.to(self.enter.weight.dtype)) + offset
        for block, part in zip(self.blocks, blocks, strict=True):
            hidden = block(hidden, part)
        found = self.leave(torch.addcmul(shift, self.norm(hidden), scale)).float()
        correction = found[..., : latent.shape[-1]]
        mean = at.signal * latent + (at.signal * at.noise) * correction
        if not (self.learns_variance and with_variance):
            return Denoised(mean)
        deviation = found[..., latent.shape[-1] :].clamp(-_LOG_VARIANCE_SHIFT, _LOG_VARIANCE_SHIFT)
        return Denoised(mean, at.noise * at.noise * torch.exp(deviation))
