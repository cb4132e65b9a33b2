"""Eigenvectors of every network, then their common axes."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from pertcast.models.multiplex_network.integration.adjacency import regularised_walk
from pertcast.models.multiplex_network.integration.config import IntegrationConfig
from pertcast.models.multiplex_network.integration.eigen import leading_eigenpairs
from pertcast.models.multiplex_network.integration.integrated import (
    Integrated,
    Progress,
    no_progress,
    unit_mean_square,
)
from pertcast.models.multiplex_network.integration.multiplex import Multiplex
from pertcast.models.multiplex_network.integration.own_genes import OwnNetwork, known_by, own_network
from pertcast.models.multiplex_network.integration.union import walk_kernel

_TOLERANCE = 1e-4
_NOTHING = 1e-9


def integrate_by_spectra(
    multiplex: Multiplex,
    components: int,
    config: IntegrationConfig,
    *,
    device: torch.device,
    progress: Progress = no_progress,
) -> Integrated:
    """Return the common axes of the networks' personalised PageRank.

    In each network, genes have the coordinates H_l that `integrate_by_union` gives them in it alone, scaled
    to a total square length of 1: every network has the same share of the axes, however many genes and edges
    it lists. (With a mean of 1 a gene instead, a large network takes the axes of small ones.) Products of
    features approach sum_l H_l,i . H_l,j / sqrt(c_i c_j), c the number of networks that know a gene: a gene
    is not shortened because a network does not know it. The axes are the leading eigenvectors of this kernel,
    the left singular vectors of the concatenated coordinates.

    Parameters
    ----------
    multiplex
        N genes and their networks.
    components
        D; fewer where the networks have fewer axes.
    config
        Its restart.
    device
        Where to compute.
    progress
        Called after each network and at the end.
    """
    started = time.perf_counter()
    share = known_by(multiplex, device).sum(dim=1).clamp(min=1).double().rsqrt()
    filled = [layer for layer in multiplex.layers if len(layer.edges)]
    blocks = [torch.zeros(multiplex.n_genes, 0, dtype=torch.float64, device=device)]
    for done, layer in enumerate(filled, start=1):
        network = own_network(layer, device)
        own = _coordinates(network, components, config.restart)
        block = torch.zeros(multiplex.n_genes, own.shape[1], dtype=torch.float64, device=device)
        block[network.genes] = own * share[network.genes, None]
        blocks.append(block)
        progress(done, len(filled) + 1, layer.name)
    features = common_axes(torch.cat(blocks, dim=1), components)
    progress(len(filled) + 1, len(filled) + 1, f"{features.shape[1]} components")
    facts = {"axes": float(sum(block.shape[1] for block in blocks)), "seconds": time.perf_counter() - started}
    return Integrated(unit_mean_square(features), facts)


def common_axes(coordinates: Tensor, components: int) -> Tensor:
    """Return (N, D) left singular vectors times singular values of (N, K) float64, D at most `components`."""
    n_genes, width = coordinates.shape
    count = min(components, width, n_genes)
    if count < 1:
        return coordinates[:, :0]
    pairs = leading_eigenpairs(
        lambda block: coordinates @ (coordinates.T @ block),
        n_genes,
        count,
        device=coordinates.device,
        tolerance=_TOLERANCE,
    )
    real = pairs.values > _NOTHING * pairs.values[0]
    return pairs.vectors[:, real] * pairs.values[real].sqrt()


def _coordinates(network: OwnNetwork, components: int, restart: float) -> Tensor:
    """Return (N_l, K) float64 leading axes of a network's kernel, of total square length 1."""
    n_genes = len(network.genes)
    count = min(components, n_genes - 1)
    pairs = leading_eigenpairs(
        regularised_walk(network.matrix),
        n_genes,
        count + 1,
        device=network.genes.device,
        tolerance=_TOLERANCE,
    )
    own = pairs.vectors[:, 1:] * walk_kernel(pairs.values[1:], restart).sqrt()
    scaled: Tensor = own / own.norm()
    return scaled
