"""Which control cell a treated cell is paired with, before a flow is learned between them.

By entropic optimal transport within a condition (Tong et al. 2024), or without any for the ablation. The
draw is a function of uniform numbers keyed by sample, so it does not depend on what else is in the batch.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from pertcast.models.transport.sinkhorn import (
    as_points,
    centred,
    entropic_transport,
    squared_distances,
)

_ROUNDS: Final = 200
# What is left to balance is spread over all partners, see `balanced`: this share of the mass, not more.
_TOLERANCE: Final = 1e-2
_LEAST: Final = 1e-30


@torch.no_grad()
def pair_by_transport(start: Tensor, end: Tensor, uniform: Tensor, epsilon: float) -> Tensor:
    """Return (B, m) int64: for each end point a start point, drawn from its row of the transport plan.

    Over the uniform numbers every start point of a problem is drawn equally often: m/n times in expectation.

    Parameters
    ----------
    start
        (B, n, D) points that paths start from.
    end
        (B, m, D) points that they lead to.
    uniform
        (B, m) in (0, 1), one for each end point.
    epsilon
        Entropic regularisation in units of each problem's mean squared distance. At 1 the pairing is
        nearly random; at 0.05 near points are paired.
    """
    with torch.autocast(start.device.type, enabled=False):
        first, first_mean = centred(as_points(end))
        second, second_mean = centred(as_points(start))
        spread = first.square().sum(dim=2).mean(dim=1) + second.square().sum(dim=2).mean(dim=1)
        mean_cost = spread + (first_mean - second_mean).square().sum(dim=1)
        absolute = (epsilon * mean_cost).clamp(min=_LEAST)
        solved = entropic_transport(squared_distances(first, second), absolute, _ROUNDS, _TOLERANCE)
        return _drawn(balanced(solved.plan), uniform)


def pair_independently(start: Tensor, end: Tensor, uniform: Tensor) -> Tensor:
    """Return (B, m) int64: for each end point any start point, without transport; see `pair_by_transport`."""
    n_start = start.shape[1]
    return (uniform.view(end.shape[:2]) * n_start).long().clamp(max=n_start - 1)


def balanced(plan: Tensor) -> Tensor:
    """Return plans (B, n, m) made to sum to 1/n in rows and 1/m in columns, up to rounding.

    Rows and columns with too much mass are scaled down, and what is then missing is added as a product
    (Altschuler, Weed & Rigollet 2017, algorithm 2).
    """
    rows, columns = 1.0 / plan.shape[1], 1.0 / plan.shape[2]
    fewer = plan * (rows / plan.sum(dim=2, keepdim=True).clamp_(min=_LEAST)).clamp_(max=1)
    fewer *= (columns / fewer.sum(dim=1, keepdim=True).clamp_(min=_LEAST)).clamp_(max=1)
    row_lack = (rows - fewer.sum(dim=2)).clamp_(min=0)
    column_lack = (columns - fewer.sum(dim=1)).clamp_(min=0)
    share = column_lack / column_lack.sum(dim=1, keepdim=True).clamp_(min=_LEAST)
    return fewer.addcmul_(row_lack.unsqueeze(2), share.unsqueeze(1))


def _drawn(plan: Tensor, uniform: Tensor) -> Tensor:
    """Return (B, n) int64 columns by the inverse of each row's distribution function."""
    until = plan.cumsum(dim=2)
    wanted = uniform.to(plan).view(plan.shape[:2]).unsqueeze(2) * until[:, :, -1:]
    partner = torch.searchsorted(until, wanted).squeeze(2)
    return partner.clamp(max=plan.shape[2] - 1)
