r"""Entropic optimal transport between uniform point clouds, many problems side by side.

.. math:: \min_P \langle P, C \rangle + \epsilon\,\mathrm{KL}(P \mid \tfrac1{nm}),
          \quad P 1 = \tfrac1n, \quad P^\top 1 = \tfrac1m

Potentials live in the log domain, so that no cost is too large for them; between two of their updates the
kernel is scaled by matrix-vector products (Schmitzer 2019), which cost a tenth of a log-sum-exp.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

ROUNDS: Final = 1000
TOLERANCE: Final = 1e-5
_ROUNDS_A_CHECK: Final = 10
# exp(-87) is float32's smallest normal number: with both scales below exp(30) what the kernel lost by
# underflow weighs less than exp(-27) of a row.
_LARGEST_LOG_SCALE: Final = 30.0
_LEAST_EPSILON: Final = 1e-30


@dataclass(frozen=True, slots=True)
class Transport:
    """Solved problems; detached from the graph.

    Attributes
    ----------
    plan
        (B, n, m), sums to 1. Columns sum to 1/m up to rounding, rows to 1/n up to `error`.
    first_potential, second_potential
        (B, n) and (B, m) in units of the cost: plan = exp((f + g - cost) / epsilon) / (n m).
    error
        (B,) mean relative error of the rows' sums.
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


def squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """Return (B, n, m) squared Euclidean distances of points (B, n, D) and (B, m, D), centred beforehand."""
    lengths = first.square().sum(dim=2).unsqueeze(2) + second.square().sum(dim=2).unsqueeze(1)
    return torch.baddbmm(lengths, first, second.mT, alpha=-2.0).clamp(min=0)


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
        Mean relative error of the rows' sums at which a problem is done.
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
        y_slope = 2.0 * (own_y.plan @ y_fixed - between.plan.mT @ x_fixed)
        linear = (x * x_slope).sum(dim=(1, 2)) + (y * y_slope).sum(dim=(1, 2))
        return shift + value + (linear - linear.detach())


def _solve(cost: Tensor, epsilon: Tensor, rounds: int, tolerance: float, is_symmetric: bool) -> Transport:
    with torch.autocast(cost.device.type, enabled=False):
        scaled = cost / -epsilon.to(cost).view(-1, 1, 1)
        scaling = _Scaling(scaled, is_symmetric)
        for _ in range(max(1, -(-rounds // _ROUNDS_A_CHECK))):
            if not scaling.advance(tolerance):
                break
        first, second = scaling.potentials()
        unit = epsilon.to(cost).unsqueeze(1)
        return Transport(scaling.plan(), first * unit, second * unit, scaling.error)


class _Scaling:
    """Potentials f, g in units of epsilon, the kernel exp(f + g - cost), and its scales u and v."""

    def __init__(self, scaled: Tensor, is_symmetric: bool) -> None:
        self.scaled = scaled
        self.is_symmetric = is_symmetric
        self.first = scaled.new_zeros(scaled.shape[:2])
        self.second = scaled.new_zeros(scaled.shape[0], scaled.shape[2])
        self.u, self.v = torch.ones_like(self.first), torch.ones_like(self.second)
        self.first, self.second = self._log_rounds(scaled, self.first, self.second, 1)
        self.kernel = self._kernel(scaled, self.first, self.second)
        self.transposed = self.kernel if is_symmetric else self.kernel.mT.contiguous()
        self.is_done = torch.zeros(len(scaled), dtype=torch.bool, device=scaled.device)
        self.error = scaled.new_full((len(scaled),), math.inf)

    def advance(self, tolerance: float) -> bool:
        """Do ten rounds of what is not done yet; return whether anything is left."""
        u, v = self._rounds(self.u, self.v)
        largest = torch.maximum(u.log().abs().amax(dim=1), v.log().abs().amax(dim=1))
        is_lost = ~(largest < _LARGEST_LOG_SCALE) & ~self.is_done
        is_kept = ~(is_lost | self.is_done)
        error = (u * self._row_sums(v) - 1).abs().mean(dim=1)
        self.u = torch.where(is_kept.unsqueeze(1), u, self.u)
        self.v = torch.where(is_kept.unsqueeze(1), v, self.v)
        self.error = torch.where(is_kept, error, self.error)
        self.is_done = self.is_done | (is_kept & (error < tolerance))
        any_lost, all_done = torch.stack((is_lost.any(), self.is_done.all())).tolist()
        if any_lost:
            self._restart(torch.nonzero(is_lost).flatten())
        return not all_done

    def potentials(self) -> tuple[Tensor, Tensor]:
        return self.first + self.u.log(), self.second + self.v.log()

    def plan(self) -> Tensor:
        size = self.kernel.shape[1] * self.kernel.shape[2]
        return self.kernel * (self.u / size).unsqueeze(2) * self.v.unsqueeze(1)

    def _row_sums(self, v: Tensor) -> Tensor:
        # One row times a matrix is the fast case of batched products: hence the transposed copy.
        return torch.bmm(v.unsqueeze(1), self.transposed).squeeze(1) / v.shape[1]

    def _rounds(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        for _ in range(_ROUNDS_A_CHECK):
            if self.is_symmetric:
                u = v = (u / self._row_sums(u)).sqrt()
            else:
                u = self._row_sums(v).reciprocal()
                v = u.shape[1] / torch.bmm(u.unsqueeze(1), self.kernel).squeeze(1)
        return u, v

    def _log_rounds(self, scaled: Tensor, first: Tensor, second: Tensor, count: int) -> tuple[Tensor, Tensor]:
        rows, columns = math.log(scaled.shape[1]), math.log(scaled.shape[2])
        for _ in range(count):
            update = columns - torch.logsumexp(scaled + second.unsqueeze(1), dim=2)
            if self.is_symmetric:
                first = second = 0.5 * (first + update)
            else:
                first = update
                second = rows - torch.logsumexp(scaled + first.unsqueeze(2), dim=1)
        return first, second

    @staticmethod
    def _kernel(scaled: Tensor, first: Tensor, second: Tensor) -> Tensor:
        return (scaled + first.unsqueeze(2)).add_(second.unsqueeze(1)).exp_()

    def _restart(self, lost: Tensor) -> None:
        """Do the rounds of these problems in the log domain, from their last safe scales, and go on there."""
        scaled = self.scaled[lost]
        first, second = self.first[lost] + self.u[lost].log(), self.second[lost] + self.v[lost].log()
        first, second = self._log_rounds(scaled, first, second, _ROUNDS_A_CHECK)
        kernel = self._kernel(scaled, first, second)
        self.first[lost], self.second[lost] = first, second
        self.kernel[lost] = kernel
        if not self.is_symmetric:
            self.transposed[lost] = kernel.mT
        self.u[lost], self.v[lost] = 1.0, 1.0
