"""Graph attention over several networks, put together into one vector a gene."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from pertcast.models.multiplex_network.integration.adjacency import adjacency, regularised_walk
from pertcast.models.multiplex_network.integration.config import AttentionConfig
from pertcast.models.multiplex_network.integration.eigen import leading_eigenpairs
from pertcast.models.multiplex_network.integration.graph_encoder import GraphEncoder
from pertcast.models.multiplex_network.integration.multiplex import Multiplex
from pertcast.models.multiplex_network.integration.neighbour_sampling import Block, Neighbourhoods
from pertcast.models.multiplex_network.integration.union import joined_layer

INPUT_WIDTH: Final = 64
"""Width of what the encoders read of a gene, at most."""
_START_TOLERANCE: Final = 1e-2


class MultiplexEncoder(nn.Module):
    """F_i = W sum_n s_n m_in H_in / sum_n s_n m_in: one attention encoder a network, one vector a gene.

    m_in is 1 where network n knows gene i, s the softmax of one learned number a network. Dividing by the
    weight of the networks that know the gene keeps one that few know as long as the others. All encoders
    read the same table of a gene's input, which is learned too.

    Parameters
    ----------
    table
        (N, width) float32 the input before training.
    n_networks
        Networks.
    components
        D, width of the result.
    config
        Layers, heads and width of the encoders.
    """

    def __init__(self, table: Tensor, n_networks: int, components: int, config: AttentionConfig) -> None:
        super().__init__()
        self.table = nn.Parameter(table.clone())
        self.encoders = nn.ModuleList(
            GraphEncoder(table.shape[1], config.heads, config.head_width, config.layers)
            for _ in range(n_networks)
        )
        self.network_score = nn.Parameter(torch.zeros(n_networks))
        self.mix = nn.Linear(config.heads * config.head_width, components, bias=False)

    def forward(self, known: Tensor, blocks: Sequence[list[Block]]) -> Tensor:
        """Return (B, D) features of the genes of a batch.

        Parameters
        ----------
        known
            (L, B) bool, whether a network knows a gene.
        blocks
            One list a network, in the order of its layers; the last writes the genes that it knows, in the
            batch's order.
        """
        hidden = [
            self._spread(encoder(self.table[network[0].sources], network), knows)
            for encoder, network, knows in zip(self.encoders, blocks, known, strict=True)
        ]
        return self._combine(hidden, known)

    @torch.no_grad()
    def encode(self, networks: Sequence[Neighbourhoods], genes_at_once: int) -> Tensor:
        """Return (N, D) features of all genes, from all neighbours, in blocks of `genes_at_once` genes."""
        known = torch.stack([network.degree() > 0 for network in networks])
        total: Tensor | None = None
        share = self._shares(known)
        for number, (encoder, network) in enumerate(zip(self.encoders, networks, strict=True)):
            assert isinstance(encoder, GraphEncoder)
            part = encoder.encode(self.table, network, genes_at_once) * share[number][:, None]
            total = part if total is None else total + part
        features: Tensor = self.mix(total)
        return features

    @torch.no_grad()
    def rescale(self, features: Tensor) -> None:
        """Scale W so that these (B, D) features, made by the encoder as it is, have mean square length 1.

        Their products then begin where the targets are, whatever the encoders' depth and width.
        """
        self.mix.weight /= features.square().sum(1).mean().sqrt().clamp(min=1e-12)

    def network_weights(self) -> Tensor:
        """Return (L,) float32 the learned weights s, of sum 1."""
        return self.network_score.softmax(0)

    def _combine(self, hidden: list[Tensor], known: Tensor) -> Tensor:
        share = self._shares(known)
        parts = [each * part[:, None] for each, part in zip(hidden, share, strict=True)]
        features: Tensor = self.mix(torch.stack(parts).sum(0))
        return features

    def _shares(self, known: Tensor) -> Tensor:
        weight = self.network_weights()[:, None] * known
        return weight / weight.sum(0).clamp(min=1e-12)

    @staticmethod
    def _spread(rows: Tensor, known: Tensor) -> Tensor:
        """Return (B, width) rows at the places that are known, zeros elsewhere."""
        return rows.new_zeros(len(known), rows.shape[1]).index_copy(0, known.nonzero()[:, 0], rows)


def starting_table(multiplex: Multiplex, device: torch.device) -> Tensor:
    """Return (N, width) float32 leading eigenvectors of the network of all edges, mean square length 1.

    Rough ones do: they are learned on from here. Random numbers instead take many times the epochs, since
    genes then have nothing in common that a layer could pass on. The width is `INPUT_WIDTH`, for fewer genes
    their number less one.
    """
    joined = joined_layer(multiplex)
    matrix = adjacency(joined.edges, joined.weight, multiplex.n_genes, device)
    count = min(INPUT_WIDTH, multiplex.n_genes - 1)
    pairs = leading_eigenpairs(
        regularised_walk(matrix), multiplex.n_genes, count + 1, device=device, tolerance=_START_TOLERANCE
    )
    table: Tensor = pairs.vectors[:, 1:] * math.sqrt(multiplex.n_genes / count)
    return table.float()
