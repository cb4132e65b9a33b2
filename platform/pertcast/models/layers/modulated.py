"""A residual network over latents that a level (noise, time) and a condition modulate, each computed once.

The two modulations are added: a condition's serves all levels, a level's all conditions. AdaLN-zero after
Peebles & Xie 2023.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from pertcast.models.layers.recomputable import Recomputable

LEVEL_FREQUENCIES: Final = 16


class ModulatedBlock(Recomputable):
    """x + gate * W2 hardswish(W1 (layer_norm(x) * (1 + scale) + shift))."""

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


class ModulatedNetwork(nn.Module):
    """Latents (..., D) to outputs (..., O), zero before training.

    Parameters
    ----------
    latent_dim, outputs
        D and O.
    condition_width
        Width of a condition's hidden vector.
    width, depth, expansion
        Of the blocks.
    """

    frequencies: Tensor

    def __init__(
        self, latent_dim: int, outputs: int, condition_width: int, width: int, depth: int, expansion: int
    ) -> None:
        super().__init__()
        self.width = width
        self.enter = nn.Linear(latent_dim, width)
        self.blocks = nn.ModuleList(ModulatedBlock(width, expansion) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.leave = nn.Linear(width, outputs)
        self.level = nn.Sequential(nn.Linear(2 * LEVEL_FREQUENCIES, width), nn.SiLU())
        self.level_modulation = nn.Linear(width, self._modulation_width)
        self.condition = nn.Sequential(nn.Linear(condition_width, width), nn.SiLU())
        self.condition_modulation = nn.Linear(width, self._modulation_width, bias=False)
        steps = torch.arange(1, LEVEL_FREQUENCIES + 1) * (math.pi / 2)
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
        """Return the (N, M) modulation of N levels in [0, 1]."""
        angles = level.reshape(-1, 1) * self.frequencies
        features = torch.cat((angles.sin(), angles.cos()), dim=1)
        modulation: Tensor = self.level_modulation(self.level(features.to(self.enter.weight.dtype)))
        return modulation

    def condition_part(self, hidden: Tensor) -> Tensor:
        """Return the (N, M) modulation of N conditions from their hidden vectors (N, W); zeros: unknown."""
        told = self.condition(hidden.to(self.enter.weight.dtype))
        modulation: Tensor = self.condition_modulation(told)
        return modulation

    def outputs(self, latent: Tensor, modulation: Tensor) -> Tensor:
        """Return (..., O) float32 for latents (..., D) and the sum of both modulations (..., M)."""
        *blocks, last = torch.chunk(modulation, len(self.blocks) + 1, dim=-1)
        shift, scale, offset = last.chunk(3, dim=-1)
        hidden = self.enter(latent.to(self.enter.weight.dtype)) + offset
        for block, part in zip(self.blocks, blocks, strict=True):
            hidden = block(hidden, part)
        found: Tensor = self.leave(torch.addcmul(shift, self.norm(hidden), scale))
        return found.float()
