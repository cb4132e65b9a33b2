"""The terms of the cost of putting a gene into a module: meaning, connections, co-expression.

Each is (G, K) within [0, 1]; a gene of which a term knows nothing costs the same in every module.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from pertcast.models.module_flow.grouping.connections import Connections

_AXIS_ROUNDS: Final = 12


def unit_rows(table: Tensor) -> tuple[Tensor, Tensor]:
    """Return (G, D) float32 rows of length 1, and (G,) bool: which rows had a length; others stay zero."""
    lengths = table.float().norm(dim=1)
    shortest = 1e-6 * float(lengths.max()) if table.numel() else 0.0
    known = lengths > max(shortest, 1e-30)
    scale = torch.where(known, lengths.clamp(min=1e-30), torch.inf)
    return table.float() / scale.unsqueeze(1), known


def module_axes(unit: Tensor, labels: Tensor, n_modules: int) -> Tensor:
    """Return (K, D) unit axes: the leading direction of each module's members, whatever their sign.

    Members that point opposite ways lie on one axis: a module's genes may be activated and repressed by
    the same signal. Power iteration from each module's first member that has a direction.
    """
    known = torch.nonzero(unit.any(dim=1)).squeeze(1).flip(0)
    leader = torch.full((n_modules,), -1)
    leader[labels[known]] = known
    axes = unit[leader.clamp(min=0)] * (leader >= 0).unsqueeze(1)
    for _ in range(_AXIS_ROUNDS):
        along = (unit * axes[labels]).sum(dim=1, keepdim=True)
        axes = unit_rows(torch.zeros_like(axes).index_add_(0, labels, along * unit))[0]
    return axes


def axis_cost(unit: Tensor, labels: Tensor, n_modules: int) -> Tensor:
    """Return (G, K) 1 - |cosine| of each gene's row with each module's axis; 1 for a row of zeros."""
    return 1 - (unit @ module_axes(unit, labels, n_modules).T).abs().clamp(max=1)


def network_cost(connections: Connections, labels: Tensor, n_modules: int) -> Tensor:
    """Return (G, K) 1 - the share of a gene's connections in the module beyond what the module's size gives.

    share = (sum_{j in k} A_ij) / degree_i - degree_k / sum of degrees, held within [0, 1]: the modularity
    of Newman 2006 for one gene, relative to its own degree.
    """
    n_genes = len(labels)
    place = connections.source * n_modules + labels[connections.target]
    inside = (
        torch.zeros(n_genes * n_modules).index_add_(0, place, connections.weight).view(n_genes, n_modules)
    )
    degree = connections.degree
    volume = torch.zeros(n_modules).index_add_(0, labels, degree)
    share = inside / degree.clamp(min=1e-30).unsqueeze(1) - volume / volume.sum().clamp(min=1e-30)
    cost = 1 - share.clamp(0, 1)
    cost[degree <= 0] = 1.0
    return cost
