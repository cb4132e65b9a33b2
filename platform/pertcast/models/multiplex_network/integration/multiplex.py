"""Several undirected networks over the same genes, as tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class NetworkLayer:
    """One network of the multiplex.

    Attributes
    ----------
    name
        What it is called in reports.
    edges
        (E, 2) int64 rows of the genes, each pair once, first < second, sorted.
    weight
        (E,) float32, positive.
    """

    name: str
    edges: Tensor
    weight: Tensor

    def genes(self) -> Tensor:
        """Return (N_l,) int64 the genes with an edge, ascending."""
        found: Tensor = torch.unique(self.edges)
        return found


@dataclass(frozen=True, slots=True)
class Multiplex:
    """L networks over N genes; a network need not know every gene.

    Attributes
    ----------
    n_genes
        N. Every gene has an edge in some layer, or it has no features.
    layers
        The networks.
    """

    n_genes: int
    layers: tuple[NetworkLayer, ...]

    @property
    def n_edges(self) -> int:
        """Edges of all layers together."""
        return sum(len(layer.edges) for layer in self.layers)
