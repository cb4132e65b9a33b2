r"""Noise schedules: how much signal and noise a latent holds at a noise level, from clean to pure noise.

Variance-preserving: :math:`z_u = a(u) z_0 + b(u) \epsilon` with :math:`a^2 + b^2 = 1`. At level 1 the signal
is zero exactly (Lin et al. 2024), so that sampling may begin from noise alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

_STEPS = 1000
_BETAS = (1e-5, 0.01)


@dataclass(frozen=True, slots=True)
class NoiseSchedule:
    """Signal and noise as functions of the level u in [0, 1].

    Attributes
    ----------
    name
        "cosine": a = cos(pi u / 2) (Nichol & Dhariwal 2021, without offset). "linear": 1,000 betas from 1e-5
        to 0.01, their signal shifted and stretched to end at zero (Lin et al. 2024, algorithm 1), between
        them linear in a.
    """

    name: Literal["cosine", "linear"]

    def signal(self, level: Tensor) -> Tensor:
        """Return a(u), of the shape and dtype of `level`."""
        if self.name == "cosine":
            return torch.cos(level * (math.pi / 2)).clamp(min=0) * (level < 1)
        table = _linear_signal().to(level)
        place = level.clamp(0, 1) * _STEPS
        low = place.floor().clamp(max=_STEPS - 1).long()
        return torch.lerp(table[low], table[low + 1], place - low)

    def noise(self, level: Tensor) -> Tensor:
        """Return b(u), of the shape and dtype of `level`."""
        if self.name == "cosine":
            return torch.sin(level * (math.pi / 2))
        return torch.sqrt((1 - self.signal(level).square()).clamp(min=0))

    def path(self, steps: int) -> NoisePath:
        """Return n equal steps from level 1 (pure noise) to level 0, the first of them at 1 ("trailing")."""
        level = 1 - torch.arange(steps + 1, dtype=torch.float64) / steps
        signal = self.signal(level)
        noise = self.noise(level)
        return NoisePath(tuple(level.tolist()), tuple(signal.tolist()), tuple(noise.tolist()))


def _linear_signal() -> Tensor:
    betas = torch.linspace(*_BETAS, _STEPS, dtype=torch.float64)
    signal = torch.cumprod(1 - betas, dim=0).sqrt()
    stretched = (signal - signal[-1]) * (signal[0] / (signal[0] - signal[-1]))
    return torch.cat((torch.ones(1, dtype=torch.float64), stretched))


@dataclass(frozen=True, slots=True)
class NoisePath:
    """The levels that a sampler visits.

    Attributes
    ----------
    level, signal, noise
        n + 1 values each: u from 1 to 0, a(u) from 0 to 1, b(u) from 1 to 0.
    """

    level: tuple[float, ...]
    signal: tuple[float, ...]
    noise: tuple[float, ...]

    @property
    def steps(self) -> int:
        """Number of steps n."""
        return len(self.level) - 1


@dataclass(frozen=True, slots=True)
class ReverseKernel:
    r""":math:`q(z_s | z_t, z_0) = N(c_t z_t + c_0 z_0, \tilde\beta)`, the posterior of a step to s < t.

    With :math:`a_{ts} = a_t / a_s` and :math:`v = b_t^2 - a_{ts}^2 b_s^2`:
    :math:`c_t = a_{ts} b_s^2 / b_t^2`, :math:`c_0 = a_s v / b_t^2`, :math:`\tilde\beta = v b_s^2 / b_t^2`
    (Kingma et al. 2021, appendix A). It holds for any distance between t and s: steps may be left out.

    Attributes
    ----------
    keep, towards, variance
        c_t, c_0 and beta tilde; floats or tensors of one shape.
    """

    keep: Tensor
    towards: Tensor
    variance: Tensor

    @classmethod
    def between(cls, signal: Tensor, signal_after: Tensor) -> ReverseKernel:
        """Return the kernel from a signal a_t to a larger one, a_s."""
        noise = 1 - signal.square()
        noise_after = 1 - signal_after.square()
        ratio = signal / signal_after
        jump = noise - ratio.square() * noise_after
        return cls(ratio * noise_after / noise, signal_after * jump / noise, jump * noise_after / noise)
