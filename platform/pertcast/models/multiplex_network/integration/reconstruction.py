"""What graph attention is trained on: batches of genes with edges among them, and the networks rebuilt.

A plain mean over pairs of a sparse network teaches that there are no edges. Batches are therefore grown along
edges, and edges have a fixed share of the loss, however few they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from pertcast.models.multiplex_network.integration.neighbour_sampling import Neighbourhoods

EDGE_SHARE: Final = 0.1
"""Share of a network's loss that its edges have; the other pairs have the rest."""


@dataclass(frozen=True, slots=True)
class RebuiltNetwork:
    """A network and what the product of two genes' features should be on its edges.

    Attributes
    ----------
    network
        N genes and their E edges.
    target
        (2 E,) float32 aligned with the rows of `network`, positive, mean square 1.
    """

    network: Neighbourhoods
    target: Tensor

    @classmethod
    def of(cls, network: Neighbourhoods) -> RebuiltNetwork:
        """Return the network with targets t_ij = sqrt(a_ij / mean a), a_ij = w_ij / sqrt(s_i s_j).

        a is the symmetrically normalised adjacency, s_i the sum of a gene's weights. It asks less of the
        edges of hubs, which say less; with targets that ignore degrees, features learn who is a hub. The root
        keeps the few edges between genes without other partners from ruling the squared error.
        """
        strength = network.own_weight * network.degree()
        row = torch.repeat_interleave(network.degree())
        normalised = network.weight / (strength[row] * strength[network.neighbour]).sqrt()
        return cls(network, (normalised / normalised.mean().clamp(min=1e-30)).sqrt())

    def loss(self, product: Tensor, genes: Tensor) -> Tensor:
        """Return the squared error over the pairs of known genes of a batch, edges and others each averaged.

        Parameters
        ----------
        product
            (B, B) inner products of the genes' features.
        genes
            (B,) int64, distinct.
        """
        first, second, entry = self.network.between(genes)
        known = (self.network.degree()[genes] > 0).float()
        on_edges = product[first, second]
        edges = (on_edges - self.target[entry]).square().sum() / max(len(first), 1)
        square = product.square()
        total = known @ square @ known - (square.diagonal() * known).sum()
        n_others = known.sum() * (known.sum() - 1) - len(first)
        others = (total - on_edges.square().sum()) / n_others.clamp(min=1)
        return EDGE_SHARE * edges + (1 - EDGE_SHARE) * others


def reconstruction_loss(features: Tensor, genes: Tensor, networks: Sequence[RebuiltNetwork]) -> Tensor:
    """Return the mean over networks of the squared error of F F' against their edges.

    Parameters
    ----------
    features
        (B, D) of the genes of a batch.
    genes
        (B,) int64, distinct.
    networks
        The networks; a pair counts in those that know both of its genes.
    """
    product = features @ features.T
    return torch.stack([network.loss(product, genes) for network in networks]).mean()


def batches(
    networks: Sequence[Neighbourhoods], batch_size: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Yield (B,) int64 distinct genes, ascending, B at most `batch_size`, that cover all genes.

    Half of a batch are genes in random order, the other half a random neighbour of each, in a network drawn
    from those that know the gene: random genes alone have next to no edges among them.
    """
    n_genes, device = networks[0].n_genes, networks[0].offset.device
    order = torch.randperm(n_genes, generator=generator).to(device)
    known = torch.stack([network.degree() > 0 for network in networks])
    for seeds in torch.split(order, batch_size // 2):
        uniform = torch.rand(len(networks), len(seeds), generator=generator).to(device)
        fraction = torch.rand(len(seeds), generator=generator, dtype=torch.float64).to(device)
        chosen = uniform.masked_fill(~known[:, seeds], -1.0).argmax(0)
        chosen = chosen.masked_fill(~known[:, seeds].any(0), -1)
        partners = [
            network.neighbour_at(seeds[chosen == number], fraction[chosen == number])
            for number, network in enumerate(networks)
        ]
        yield torch.unique(torch.cat((seeds, *partners)))
