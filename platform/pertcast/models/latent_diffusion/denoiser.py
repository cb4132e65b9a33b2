r"""The denoiser: what a noisy latent says of the clean one, given the condition.

It works on latents whose conditional mean and scale are taken off: their variance is one in any condition.
The best linear guess is then :math:`a z_u` with variance :math:`b^2`; the network only learns what is not
Gaussian or not independent (preconditioning as in Karras et al. 2022, its output a v-prediction):

.. math:: \hat\rho = a z_u + a b F(z_u, u, c), \qquad \log V = 2 \log b + h(z_u, u, c)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pertcast.models.latent_diffusion.config import DenoiserConfig
from pertcast.models.latent_diffusion.samplers import Denoised
from pertcast.models.layers.modulated import ModulatedNetwork

_LOG_VARIANCE_SHIFT = 3.0


@dataclass(frozen=True, slots=True)
class Level:
    """Signal and noise of a level: tensors (..., 1), or numbers."""

    signal: Tensor | float
    noise: Tensor | float


class Denoiser(ModulatedNetwork):
    """Residual network over latents, modulated by noise level and condition; see `ModulatedNetwork`.

    Parameters
    ----------
    latent_dim
        D.
    condition_width
        Width of the condition's hidden vector.
    config
        Widths.
    """

    def __init__(self, latent_dim: int, condition_width: int, config: DenoiserConfig) -> None:
        outputs = latent_dim * (2 if config.learned_variance else 1)
        super().__init__(latent_dim, outputs, condition_width, config.width, config.depth, config.expansion)
        self.learns_variance = config.learned_variance

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
        found = self.outputs(latent, modulation)
        correction = found[..., : latent.shape[-1]]
        mean = at.signal * latent + (at.signal * at.noise) * correction
        if not (self.learns_variance and with_variance):
            return Denoised(mean)
        deviation = found[..., latent.shape[-1] :].clamp(-_LOG_VARIANCE_SHIFT, _LOG_VARIANCE_SHIFT)
        return Denoised(mean, at.noise * at.noise * torch.exp(deviation))
