"""The terms of the cost of putting a gene into a module: meaning, connections, co-expression.

Each is (G, K) within [0, 1]; a gene of which a term knows nothing costs the same in every module.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_AXIS_ROUNDS = 12


def unit_rows(table: Tensor) -> tuple[Tensor, Tensor]:
    """Return (G, D) float32 rows of length 1, and (G,) bool: which rows had a length; others stay zero."""
    lengths = table.float().norm(dim=1)
    known = (
        lengths > 1e-6 * lengths.max().clamp(min=1e-30)
        if table.numel()
        else torch.zeros(len(table), dtype=torch.bool)
    )
    scale = torch.where(known, lengths.clamp(min=1e-30), torch.inf)
    return table.float() / scale.unsqueeze(1), known


def module_axes(unit: Tensor, labels: Tensor, n_modules: int) -> Tensor:
    """Return (K, D) unit axes: the leading direction of each module's members, whatever their sign.

    Members that point opposite ways lie on one axis: a module's genes may be activated and repressed by
    the same signal. Power iteration from the mean of the members, aligned to the one closest to it.
    """
    weight = torch.zeros(n_modules, unit.shape[1]).index_add_(0, labels, unit)
    axes = unit_rows(weight)[0]
    for _ in range(_AXIS_ROUNDS):
        along = (unit * axes[labels]).sum(dim=1, keepdim=True)
        axes = unit_rows(torch.zeros_like(axes).index_add_(0, labels, along * unit))[0]
    return axes


def axis_cost(unit: Tensor, labels: Tensor, n_modules: int) -> Tensor:
    """Return (G, K) 1 - |cosine| of each gene's row with each module's axis; 1 for a row of zeros."""
    return 1 - (unit @ module_axes(unit, labels, n_modules).T).abs().clamp(max=1)


@dataclass(frozen=True)
class Connections:
    """Edges in both directions.

    Attributes
    ----------
    source, target
        (2E,) int64 genes.
    weight
        (2E,) float32.
    degree
        (G,) float32 sum of the weights of each gene's edges.
    """

    source: Tensor
    target: Tensor
    weight: Tensor
    degree: Tensor

    @classmethod
    def of(cls, edges: Tensor, weight: Tensor, n_genes: int) -> Connections:
        """Read (E, 2) pairs, each once; a gene's edge to itself says nothing and is left out."""
        kept = edges[:, 0] != edges[:, 1]
        first, second, once = edges[kept, 0], edges[kept, 1], weight[kept].float()
        source, target, twice = (
            torch.cat([first, second]),
            torch.cat([second, first]),
            torch.cat([once, once]),
        )
        return cls(source, target, twice, torch.zeros(n_genes).index_add_(0, source, twice))


def network_cost(connections: Connections, labels: Tensor, n_modules: int) -> Tensor:
    """Return (G, K) 1 - the share of a gene's connections in the module beyond what the module's size gives.

    share = (sum_{j in k} A_ij) / degree_i - degree_k / sum of degrees, held within [0, 1]; degree_k without
    the gene's own. The modularity of Newman 2006 for one gene, relative to its own degree.
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


def standard_columns(controls: Tensor) -> Tensor:
    """Return (G, M) float32: each gene's profile over M controls, centred and of length 1 or 0."""
    profiles = controls.T.float()
    if profiles.shape[1] < 3:
        return profiles.new_zeros(len(profiles), 0)
    return unit_rows(profiles - profiles.mean(dim=1, keepdim=True))[0]
