"""A network on the genes it knows: what per-network methods work on, and how many networks know a gene."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pertcast.models.multiplex_network.integration.adjacency import adjacency
from pertcast.models.multiplex_network.integration.multiplex import Multiplex, NetworkLayer


@dataclass(frozen=True, slots=True)
class OwnNetwork:
    """One network of the multiplex, without the genes it does not know.

    Attributes
    ----------
    genes
        (N_l,) int64 rows of the multiplex, ascending.
    matrix
        (N_l, N_l) float64 CSR.
    """

    genes: Tensor
    matrix: Tensor


def own_network(layer: NetworkLayer, device: torch.device) -> OwnNetwork:
    """Return a network on its own genes."""
    genes, rows = torch.unique(layer.edges, return_inverse=True)
    matrix = adjacency(rows.reshape(-1, 2), layer.weight, len(genes), device)
    return OwnNetwork(genes.to(device), matrix)


def known_by(multiplex: Multiplex, device: torch.device) -> Tensor:
    """Return (N, L) bool: the network has an edge of the gene."""
    known = torch.zeros(multiplex.n_genes, len(multiplex.layers), dtype=torch.bool)
    for place, layer in enumerate(multiplex.layers):
        known[layer.edges.flatten(), place] = True
    return known.to(device)
