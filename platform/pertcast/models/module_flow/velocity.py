r"""The velocity field of the flow: the set's mean displacement, and what a network adds to it.

.. math:: v(z, t, c) = m(c) + F(z, t, c)

F is zero before training: every control cell then moves by the mean displacement of its condition.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pertcast.models.layers.modulated import ModulatedNetwork
from pertcast.models.module_flow.config import FlowConfig


class VelocityNetwork(ModulatedNetwork):
    """F: latents (..., D), time and condition to a velocity (..., D).

    Parameters
    ----------
    latent_dim, condition_width
        D and W.
    config
        Widths.
    """

    def __init__(self, latent_dim: int, condition_width: int, config: FlowConfig) -> None:
        super().__init__(
            latent_dim, latent_dim, condition_width, config.width, config.depth, config.expansion
        )


@dataclass(frozen=True)
class VelocityField:
    """The velocity of N conditions, with everything that does not change along a trajectory at hand.

    Attributes
    ----------
    network
        F.
    displacement
        (N, 1, D) mean displacement.
    told
        (N, 1, M) modulation by the conditions.
    times
        Modulation (1, M) by time, of the times met so far.
    """

    network: VelocityNetwork
    displacement: Tensor
    told: Tensor
    times: dict[float, Tensor]

    @classmethod
    def of(cls, network: VelocityNetwork, displacement: Tensor, hidden: Tensor) -> VelocityField:
        """Return the field of conditions with displacement (N, D) and hidden vectors (N, W)."""
        told = network.condition_part(hidden).unsqueeze(1)
        return cls(network, displacement.unsqueeze(1), told, {})

    def take(self, rows: slice) -> VelocityField:
        """Return the field of some of the conditions; times are shared."""
        return VelocityField(self.network, self.displacement[rows], self.told[rows], self.times)

    def drift(self, start: Tensor, end: Tensor) -> Tensor:
        """Return (N, 1, D) how far the mean of trajectories (N, K, D) ends beside the mean displacement."""
        return (end - start).mean(dim=1, keepdim=True) - self.displacement

    def __call__(self, time: float, latent: Tensor) -> Tensor:
        """Return (N, K, D) velocities of latents (N, K, D) at a time in [0, 1]."""
        if time not in self.times:
            self.times[time] = self.network.level_part(torch.tensor([time], device=latent.device))
        return self.displacement + self.network.outputs(latent, self.told + self.times[time])
