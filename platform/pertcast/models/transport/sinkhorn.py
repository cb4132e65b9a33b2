r"""Entropic optimal transport between uniform point clouds, many problems side by side.

.. math:: \min_P \langle P, C \rangle + \epsilon\,\mathrm{KL}(P \mid \tfrac1{nm}),
          \quad P 1 = \tfrac1n, \quad P^\top 1 = \tfrac1m

In the log domain, so that no cost is too large (see `kernel_scaling`); gradients by the envelope theorem.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from pertcast.models.transport.kernel_scaling import ROUNDS_A_CHECK, KernelScaling

ROUNDS: Final = 1000
TOLERANCE: Final = 1e-5
_LEAST_EPSILON: Final = 1e-30


@dataclass(frozen=True, slots=True)
class Transport:
    """Solved problems; detached from the graph.

    Attributes
    ----------
    plan
        (B, n, m). Columns sum to 1/m up to rounding, rows to 1/n up to `error` (a cloud with itself: both
        up to `error`).
    first_potential, second_potential
        (B, n) and (B, m) in units of the cost: plan = exp((f + g - cost) / epsilon) / (n m).
    error
        (B,) mean relative error of the rows' or columns' sums, the larger one, at the last check.
    """

    plan: Tensor
    first_potential: Tensor
    second_potential: Tensor
    error: Tensor

    @property
    def value(self) -> Tensor:
        """(B,) the minimum with its entropic term, by the dual: mean f + mean g."""
        return self.first_potential.mean(dim=1) + self.second_potential.mean(dim=1)

    def cost_under(self, cost: Tensor) -> Tensor:
        """Return (B,) the transport cost <plan, cost>, without the entropic term."""
        return (self.plan * cost).sum(dim=(1, 2))


def as_points(points: Tensor) -> Tensor:
    """Return points as float32, or float64 where they are that."""
    return points if points.dtype == torch.float64 else points.float()


def centred(points: Tensor) -> tuple[Tensor, Tensor]:
    """Return points (B, n, D) less their mean, and the mean (B, D).

    A shift of one cloud against the other adds terms of rows and of columns alone to squared distances: the
    plan stays the same, and distances of centred clouds are free of the rounding that a large shift brings.
    """
    mean = points.mean(dim=1, keepdim=True)
    return points - mean, mean.squeeze(1)


@torch.no_grad()
def squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """Return (B, n, m) squared Euclidean distances of points (B, n, D) and (B, m, D), without gradient.

    They lose digits where both clouds are far from the origin: see `centred`.
    """
    lengths = first.square().sum(dim=2).unsqueeze(2) + second.square().sum(dim=2).unsqueeze(1)
    return torch.baddbmm(lengths, first, second.mT, alpha=-2.0).clamp_(min=0)


def relative_epsilon(cost: Tensor, share: float, reference: Literal["mean", "median"] = "mean") -> Tensor:
    """Return (B,) `share` of each problem's mean or median cost; of the mean where the median is zero."""
    entries = cost.detach().flatten(1)
    scale = entries.mean(dim=1)
    if reference == "median":
        median = entries.median(dim=1).values
        scale = torch.where(median > 0, median, scale)
    return (share * scale).clamp(min=_LEAST_EPSILON)


@torch.no_grad()
def entropic_transport(
    cost: Tensor, epsilon: Tensor, rounds: int = ROUNDS, tolerance: float = TOLERANCE
) -> Transport:
    """Solve B problems by Sinkhorn's iteration; each stops by itself, so none depends on its neighbours.

    Parameters
    ----------
    cost
        (B, n, m) float32 or float64.
    epsilon
        (B,) positive, in units of the cost.
    rounds
        Iterations at most, in steps of ten.
    tolerance
        Mean relative error of the sums at which a problem is done.
    """
    return _solve(cost, epsilon, rounds, tolerance, is_symmetric=False)


@torch.no_grad()
def self_transport(
    cost: Tensor, epsilon: Tensor, rounds: int = ROUNDS, tolerance: float = TOLERANCE
) -> Transport:
    """Solve B problems of clouds with themselves, cost (B, n, n) symmetric; see `entropic_transport`.

    Both potentials are equal; averaging a potential with its update converges in a few rounds at any
    epsilon (Feydy et al. 2019).
    """
    return _solve(cost, epsilon, rounds, tolerance, is_symmetric=True)


def sinkhorn_divergence(
    first: Tensor,
    second: Tensor,
    epsilon: Tensor,
    rounds: int = ROUNDS,
    tolerance: float = TOLERANCE,
) -> Tensor:
    r"""Return (B,) debiased divergences of point clouds under squared Euclidean cost (Feydy et al. 2019).

    .. math:: S(x, y) = OT(x, y) - \tfrac12 OT(x, x) - \tfrac12 OT(y, y)

    Zero for equal clouds, positive otherwise; OT with its entropic term (`Transport.value`). The gradient to
    both clouds is that of the solved problem (envelope theorem), 2 (P_xx x - P_xy y), with epsilon held
    fixed: nothing is back-propagated through the iterations. It has no second derivative.

    Parameters
    ----------
    first, second
        (B, n, D) and (B, m, D); float64 is kept, all else computed in float32 whatever autocast says.
    epsilon
        (B,) positive, in units of the cost.
    rounds, tolerance
        See `entropic_transport`.
    """
    with torch.autocast(first.device.type, enabled=False):
        x, x_mean = centred(as_points(first))
        y, y_mean = centred(as_points(second))
        shift = (x_mean - y_mean).square().sum(dim=1)
        x_fixed, y_fixed = x.detach(), y.detach()
        between = entropic_transport(squared_distances(x_fixed, y_fixed), epsilon, rounds, tolerance)
        own_x = self_transport(squared_distances(x_fixed, x_fixed), epsilon, rounds, tolerance)
        own_y = self_transport(squared_distances(y_fixed, y_fixed), epsilon, rounds, tolerance)
        value = (between.first_potential - own_x.first_potential).mean(dim=1)
        value = value + (between.second_potential - own_y.first_potential).mean(dim=1)
        x_slope = 2.0 * (own_x.plan @ x_fixed - between.plan @ y_fixed)
        linear = (x * x_slope).sum(dim=(1, 2))
        if y.requires_grad:
            y_slope = 2.0 * (own_y.plan @ y_fixed - between.plan.mT @ x_fixed)
            linear = linear + (y * y_slope).sum(dim=(1, 2))
        return shift + value + (linear - linear.detach())


def _solve(cost: Tensor, epsilon: Tensor, rounds: int, tolerance: float, is_symmetric: bool) -> Transport:
    with torch.autocast(cost.device.type, enabled=False):
        scaling = KernelScaling(cost, epsilon, is_symmetric)
        for _ in range(max(1, -(-rounds // ROUNDS_A_CHECK))):
            if not scaling.advance(tolerance):
                break
        first, second, plan = scaling.finish()
        unit = epsilon.to(cost).unsqueeze(1)
        return Transport(plan, first * unit, second * unit, scaling.error)
