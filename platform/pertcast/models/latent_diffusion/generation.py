"""Drawing latents: conditions encoded once, many samples at a time, every draw keyed by its condition."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from pertcast.models.latent_diffusion.config import SamplerConfig
from pertcast.models.latent_diffusion.denoiser import Denoiser, Level
from pertcast.models.latent_diffusion.network import LatentResponse
from pertcast.models.latent_diffusion.samplers import Denoised, sample
from pertcast.models.latent_diffusion.schedule import NoisePath, NoiseSchedule
from pertcast.models.noise import KeyedNoise

_CACHED_ROWS = 256
"""Latents drawn at a time on a CPU: what passes from layer to layer then stays in its cache."""

_STREAM_START = 1 << 20
_STREAM_STEP = 1 << 21


class LatentSampler:
    """Samples standardised latents of conditions.

    Parameters
    ----------
    denoiser
        Trained on latents with mean and scale taken off.
    config
        Which sampler, how many steps, guidance.
    schedule
        Name of the noise schedule.
    """

    def __init__(
        self, denoiser: Denoiser, config: SamplerConfig, schedule: Literal["cosine", "linear"]
    ) -> None:
        self.denoiser = denoiser
        self.config = config
        self.path = NoiseSchedule(schedule).path(config.steps)

    def guided(self, found: LatentResponse) -> LatentResponse:
        """Return mean and scale at guidance w: w times the condition's, 1 - w times those of none (0, 1)."""
        weight = self.config.guidance
        if weight == 1:
            return found
        return found._replace(mean=weight * found.mean, log_scale=weight * found.log_scale)

    def draw(self, found: LatentResponse, keys: Tensor, count: int, noise: KeyedNoise) -> Tensor:
        """Return (N, count, D) standardised latents.

        Parameters
        ----------
        found
            Mean and scale of N conditions, guided, and their hidden vectors.
        keys
            (N,) int64: a draw depends on (seed, key, its number) alone.
        count
            Draws a condition.
        noise
            Source of noise.
        """
        on_cpu = found.mean.device.type == "cpu"
        rows = max(1, _CACHED_ROWS // max(count, 1) if on_cpu else len(keys))
        parts = [
            self._draw_part(found.take(slice(first, first + rows)), keys[first : first + rows], count, noise)
            for first in range(0, len(keys), rows)
        ]
        return torch.cat(parts)

    def _draw_part(self, found: LatentResponse, keys: Tensor, count: int, noise: KeyedNoise) -> Tensor:
        """Draw for conditions that a processor's cache holds at a time."""
        start = self._normal(noise, keys, count, found.mean.shape[1], _STREAM_START)

        def again(step: int) -> Tensor:
            stream = _STREAM_STEP + step * (1 << 12)
            return self._normal(noise, keys, count, found.mean.shape[1], stream)

        denoise = _GuidedDenoiser(self.denoiser, found.hidden, self.path, self.config)
        drawn = sample(denoise, start, self.path, self.config, again)
        return found.mean.unsqueeze(1) + found.scale.unsqueeze(1) * drawn

    def _normal(self, noise: KeyedNoise, keys: Tensor, count: int, width: int, stream: int) -> Tensor:
        return torch.stack([noise.normal(keys, width, stream + number) for number in range(count)], dim=1)


class _GuidedDenoiser:
    """The denoiser at the steps of one path, for N conditions: everything that does not change is kept.

    With guidance w: unconditional + w (conditional - unconditional) (Ho & Salimans 2022).
    """

    def __init__(self, denoiser: Denoiser, hidden: Tensor, path: NoisePath, config: SamplerConfig) -> None:
        self.denoiser = denoiser
        self.path = path
        self.guidance = config.guidance
        self.with_variance = config.kind == "ancestral"
        level = torch.tensor(path.level[:-1], dtype=torch.float32, device=hidden.device)
        self._levels = denoiser.level_part(level)
        self._condition = denoiser.condition_part(hidden).unsqueeze(1)
        self._unknown = denoiser.condition_part(torch.zeros_like(hidden[:1])).unsqueeze(1)

    def __call__(self, latent: Tensor, step: int) -> Denoised:
        """Return the posterior given (N, K, D) latents at a step."""
        at = Level(self.path.signal[step], self.path.noise[step])
        told = self._levels[step] + self._condition
        found: Denoised = self.denoiser(latent, at, told, self.with_variance)
        if self.guidance == 1:
            return found
        without = self.denoiser(latent, at, self._levels[step] + self._unknown, False)
        return Denoised(torch.lerp(without.mean, found.mean, self.guidance), found.variance)
