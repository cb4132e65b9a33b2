"""Samplers: from pure noise to a sample, by any denoiser of a variance-preserving process.

Every step's kernel is that of its own two levels, so a path of 10 levels is as consistent as one of 1,000.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pertcast.models.latent_diffusion.config import SamplerConfig
from pertcast.models.latent_diffusion.schedule import NoisePath, ReverseKernel


class Denoised(NamedTuple):
    """What a denoiser says of z_0 given z_t.

    Attributes
    ----------
    mean
        (..., D) posterior mean.
    variance
        (..., D) posterior variance of each dimension, or None where it is not known.
    """

    mean: Tensor
    variance: Tensor | None = None


Denoise = Callable[[Tensor, int], Denoised]
"""Called with z_t (..., D) and the number of the step, 0 at pure noise."""

Draw = Callable[[int], Tensor]
"""Standard normal noise (..., D) of a step; called at most once a step."""


def sample(denoise: Denoise, start: Tensor, path: NoisePath, config: SamplerConfig, draw: Draw) -> Tensor:
    """Return samples (..., D) of the distribution that `denoise` knows.

    Parameters
    ----------
    denoise
        The posterior at each step of `path`.
    start
        (..., D) standard normal noise.
    path
        Levels from pure noise to none.
    config
        Which sampler; `steps` is that of the path.
    draw
        Further noise, where the sampler needs any.
    """
    if config.kind == "dpm_solver":
        return _second_order(denoise, start, path)
    if config.kind == "ddim":
        return _implicit(denoise, start, path, config.eta, draw)
    return _ancestral(denoise, start, path, draw)


def _kernel(path: NoisePath, step: int) -> tuple[float, float, float]:
    pair = torch.tensor(path.signal[step : step + 2], dtype=torch.float64)
    kernel = ReverseKernel.between(pair[0], pair[1])
    return float(kernel.keep), float(kernel.towards), float(kernel.variance)


def _ancestral(denoise: Denoise, latent: Tensor, path: NoisePath, draw: Draw) -> Tensor:
    """Sample the reverse process; a known posterior variance is added to each kernel's own.

    With the true mean and variance of a Gaussian it is exact at any number of steps (Bao et al. 2022).
    """
    for step in range(path.steps):
        keep, towards, own = _kernel(path, step)
        found = denoise(latent, step)
        mean = keep * latent + towards * found.mean
        if found.variance is not None:
            latent = mean + torch.sqrt(own + towards**2 * found.variance) * draw(step)
        else:
            latent = mean + math.sqrt(own) * draw(step) if own > 0 else mean
    return latent


def _implicit(denoise: Denoise, latent: Tensor, path: NoisePath, eta: float, draw: Draw) -> Tensor:
    """Sample by DDIM (Song et al. 2021); eta = 1 has the kernels' own variance."""
    for step in range(path.steps):
        signal, noise = path.signal[step], path.noise[step]
        mean = denoise(latent, step).mean
        deviation = eta * math.sqrt(_kernel(path, step)[2]) if eta else 0.0
        direction = math.sqrt(max(path.noise[step + 1] ** 2 - deviation**2, 0.0)) / noise
        latent = direction * latent + (path.signal[step + 1] - direction * signal) * mean
        if deviation:
            latent = latent + deviation * draw(step)
    return latent


def _second_order(denoise: Denoise, latent: Tensor, path: NoisePath) -> Tensor:
    """Solve the probability flow by DPM-Solver++ 2M (Lu et al. 2022), first order at both ends.

    In the logarithm of signal over noise; it is infinite at the ends, where no slope can be taken.
    """
    previous: Tensor | None = None
    width_before = math.inf
    for step in range(path.steps):
        mean = denoise(latent, step).mean
        width = _log_snr(path, step + 1) - _log_snr(path, step)
        estimate = mean
        if previous is not None and math.isfinite(width) and math.isfinite(width_before):
            slope = width / (2 * width_before)
            estimate = torch.lerp(previous, mean, 1 + slope)
        shrink = path.noise[step + 1] / path.noise[step]
        towards = path.signal[step + 1] - path.signal[step] * shrink
        latent = shrink * latent + towards * estimate
        previous, width_before = mean, width
    return latent


def _log_snr(path: NoisePath, step: int) -> float:
    signal, noise = path.signal[step], path.noise[step]
    if signal <= 0:
        return -math.inf
    return math.log(signal / noise) if noise > 0 else math.inf
