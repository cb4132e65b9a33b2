"""All networks as one: edges joined, then the leading axes of personalised PageRank on them."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from pertcast.models.multiplex_network.integration.adjacency import adjacency, regularised_walk
from pertcast.models.multiplex_network.integration.config import IntegrationConfig
from pertcast.models.multiplex_network.integration.eigen import leading_eigenpairs
from pertcast.models.multiplex_network.integration.integrated import (
    Integrated,
    Progress,
    no_progress,
    unit_mean_square,
)
from pertcast.models.multiplex_network.integration.multiplex import Multiplex, NetworkLayer


def integrate_by_union(
    multiplex: Multiplex,
    components: int,
    config: IntegrationConfig,
    *,
    device: torch.device,
    progress: Progress = no_progress,
) -> Integrated:
    """Return coordinates of the genes in the network of all edges.

    The kernel of personalised PageRank, r (I - (1 - r) S)^-1 with restart r, has the eigenvectors u of
    S = (D + t)^-1/2 (A + t/N 11') (D + t)^-1/2 and the eigenvalues r / (1 - (1 - r) l). Coordinates are the
    leading u, each times the square root of its eigenvalue in the kernel, so that their products approach the
    kernel (Page et al. 1999; Tong et al. 2006). The trivial first one is left out. A gene with few partners
    has short coordinates: little is known of it.

    Parameters
    ----------
    multiplex
        N genes and their networks; each network's mean weight is its unit.
    components
        D; N - 1 at most.
    config
        Its restart.
    device
        Where to compute.
    progress
        Called after each of two steps.
    """
    started = time.perf_counter()
    joined = joined_layer(multiplex)
    progress(1, 2, f"{len(joined.edges):,} edges joined")
    count = min(components, multiplex.n_genes - 1)
    if count < 1 or not len(joined.edges):
        return Integrated(torch.zeros(multiplex.n_genes, 0, device=device), {"edges": 0.0, "seconds": 0.0})
    matrix = adjacency(joined.edges, joined.weight, multiplex.n_genes, device)
    pairs = leading_eigenpairs(regularised_walk(matrix), multiplex.n_genes, count + 1, device=device)
    coordinates = pairs.vectors[:, 1:] * walk_kernel(pairs.values[1:], config.restart).sqrt()
    progress(2, 2, f"{count} components")
    facts = {
        "edges": float(len(joined.edges)),
        "residual": pairs.residual,
        "seconds": time.perf_counter() - started,
    }
    return Integrated(unit_mean_square(coordinates), facts)


def walk_kernel(values: Tensor, restart: float) -> Tensor:
    """Return (K,) eigenvalues r / (1 - (1 - r) l) of personalised PageRank, of the walk's eigenvalues l."""
    return restart / (1 - (1 - restart) * values.clamp(-1.0, 1.0))


def joined_layer(multiplex: Multiplex) -> NetworkLayer:
    """Return one network: weights divided by their network's mean, then summed edge by edge, sorted.

    A network thus counts by how many edges it lists, whatever its scores run to (1 or 1,000).
    """
    filled = [layer for layer in multiplex.layers if len(layer.edges)]
    if not filled:
        nothing = torch.zeros(0, 2, dtype=torch.int64)
        return NetworkLayer("all networks", nothing, torch.zeros(0))
    edges = torch.cat([layer.edges for layer in filled])
    scaled = torch.cat([layer.weight.double() / layer.weight.double().mean() for layer in filled])
    key = edges[:, 0] * multiplex.n_genes + edges[:, 1]
    # Sorted first, so that sums are over the same numbers in the same order however edges are listed.
    key, order = torch.sort(key, stable=True)
    distinct, place = torch.unique_consecutive(key, return_inverse=True)
    weight = torch.zeros(len(distinct), dtype=torch.float64).index_add_(0, place, scaled[order])
    ends = torch.stack((distinct // multiplex.n_genes, distinct % multiplex.n_genes), dim=1)
    return NetworkLayer("all networks", ends, weight.float())
