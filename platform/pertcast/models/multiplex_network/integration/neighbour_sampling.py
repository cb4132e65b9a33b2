"""Neighbours of genes in one network: all of them or a uniform sample, as blocks that a layer reads.

Everything is vectorised over genes on compressed rows, in torch alone: no compiled graph library is needed.
A block names its own few source genes, so that the work follows the batch and not the genome.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pertcast.models.multiplex_network.integration.multiplex import NetworkLayer


@dataclass(frozen=True, slots=True)
class Block:
    """What one attention layer reads and writes.

    Attributes
    ----------
    sources
        (M,) int64 genes that are read, the T genes that are written first.
    n_targets
        T.
    source
        (E,) int64 positions in `sources`; the first edge of every target is its self loop.
    offset
        (T + 1,) int64 bounds of the targets' edges in `source` and `weight`.
    weight
        (E,) float32, positive. A sampled neighbour carries its weight times degree / sample size, so
        that the weights of a target sum to those of all its neighbours on average.
    """

    sources: Tensor
    n_targets: int
    source: Tensor
    offset: Tensor
    weight: Tensor

    def target(self) -> Tensor:
        """Return (E,) int64 the target of every edge, ascending."""
        return torch.repeat_interleave(self.offset.diff())


@dataclass(frozen=True, slots=True)
class Neighbourhoods:
    """One network as compressed rows, each edge in both directions.

    Attributes
    ----------
    offset
        (N + 1,) int64 bounds of the genes' rows.
    neighbour
        (2 E,) int64, ascending within a row.
    weight
        (2 E,) float32, positive.
    own_weight
        (N,) float32 weight of a gene's self loop: the mean over its edges, 1 where it has none.
    """

    offset: Tensor
    neighbour: Tensor
    weight: Tensor
    own_weight: Tensor

    @classmethod
    def of(cls, layer: NetworkLayer, n_genes: int, device: torch.device) -> Neighbourhoods:
        """Return the rows of `layer` on `device`; the order of its edges does not matter."""
        first, second = layer.edges.to(device).unbind(1)
        row, column = torch.cat((first, second)), torch.cat((second, first))
        order = (row * n_genes + column).argsort()
        weight = layer.weight.to(device).repeat(2)[order]
        degree = row.bincount(minlength=n_genes)
        total = torch.zeros(n_genes, device=device).index_add_(0, row[order], weight)
        return cls(
            offset=torch.cat((degree.new_zeros(1), degree.cumsum(0))),
            neighbour=column[order],
            weight=weight,
            own_weight=torch.where(degree > 0, total / degree.clamp(min=1), 1.0),
        )

    @property
    def n_genes(self) -> int:
        """Rows, those of genes without an edge included."""
        return len(self.own_weight)

    def degree(self) -> Tensor:
        """Return (N,) int64 the number of neighbours."""
        return self.offset.diff()

    def neighbour_at(self, genes: Tensor, fraction: Tensor) -> Tensor:
        """Return (T,) int64 the neighbour at a fraction, [0, 1), of the way through each gene's row."""
        degree = self.degree()[genes]
        return self.neighbour[self.offset[genes] + (fraction * degree).long().minimum(degree - 1)]

    def all_of(self, genes: Tensor) -> Block:
        """Return the block that writes `genes`, (T,) int64 and distinct, from all of their neighbours."""
        degree = self.degree()[genes]
        return self._block(genes, degree, *_slots(degree))

    def sample(self, genes: Tensor, limit: int, generator: torch.Generator) -> Block:
        """Return the block that writes `genes` from at most `limit` neighbours of each.

        Parameters
        ----------
        genes
            (T,) int64, distinct.
        limit
            Neighbours drawn of a gene, uniformly without replacement; a gene with no more gives all.
        generator
            Of the draws, on the CPU whatever the device.
        """
        degree = self.degree()[genes]
        target, slot = _slots(degree.clamp(max=limit))
        many = degree > limit
        slot[many[target] & (slot >= 0)] = _distinct(degree[many], limit, generator).flatten()
        return self._block(genes, degree.clamp(max=limit), target, slot)

    def _block(self, genes: Tensor, taken: Tensor, target: Tensor, slot: Tensor) -> Block:
        """Return the block of (E,) targets and slots, places in a gene's row; the self loop is slot -1."""
        own = slot < 0
        row = (self.offset[genes][target] + slot.clamp(min=0)).clamp_(max=len(self.neighbour) - 1)
        neighbour = torch.where(own, genes[target], self.neighbour[row])
        scale = (self.degree()[genes] / taken.clamp(min=1)).float()[target]
        weight = torch.where(own, self.own_weight[genes][target], self.weight[row] * scale)
        sources, source = _numbered(genes, neighbour, self.n_genes)
        offset = torch.cat((taken.new_zeros(1), (taken + 1).cumsum(0)))
        return Block(sources, len(genes), source, offset, weight)

    def blocks(self, genes: Tensor, layers: int, limit: int, generator: torch.Generator) -> list[Block]:
        """Return the blocks of `layers` layers that end in `genes`, in the order in which they run."""
        blocks: list[Block] = []
        for _ in range(layers):
            blocks.append(self.sample(genes, limit, generator))
            genes = blocks[-1].sources
        return blocks[::-1]

    def between(self, genes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return all edges among `genes`, each in both directions.

        Returns
        -------
        (P,) int64 and (P,) int64 positions in `genes`, (P,) int64 places in `neighbour` and `weight`.
        """
        degree = self.degree()[genes]
        first = torch.repeat_interleave(degree)
        within = torch.arange(len(first), device=genes.device) - (degree.cumsum(0) - degree)[first]
        row = self.offset[genes][first] + within
        place = self.offset.new_full((self.n_genes,), -1)
        place[genes] = torch.arange(len(genes), device=genes.device)
        second = place[self.neighbour[row]]
        kept = second >= 0
        return first[kept], second[kept], row[kept]


def _slots(taken: Tensor) -> tuple[Tensor, Tensor]:
    """Return target and slot of every edge: -1, the self loop, then 0 .. taken - 1 of each target."""
    target = torch.repeat_interleave(taken + 1)
    start = (taken + 1).cumsum(0) - taken - 1
    return target, torch.arange(len(target), device=taken.device) - start[target] - 1


def _distinct(degree: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Return (T, size) distinct int64 of 0 .. degree - 1, all subsets as likely (Floyd 1987)."""
    uniform = torch.rand(len(degree), size, generator=generator, dtype=torch.float64).to(degree.device)
    chosen = degree.new_empty(len(degree), size)
    for column in range(size):
        last = degree - size + column
        drawn = (uniform[:, column] * (last + 1)).long().minimum(last)
        taken = (chosen[:, :column] == drawn[:, None]).any(1)
        chosen[:, column] = torch.where(taken, last, drawn)
    return chosen


def _numbered(targets: Tensor, genes: Tensor, n_genes: int) -> tuple[Tensor, Tensor]:
    """Return the distinct genes of both, targets first, then ascending, and the place of each of `genes`."""
    new = torch.zeros(n_genes, dtype=torch.bool, device=genes.device)
    new[genes] = True
    new[targets] = False
    sources = torch.cat((targets, new.nonzero()[:, 0]))
    place = torch.empty(n_genes, dtype=torch.int64, device=genes.device)
    place[sources] = torch.arange(len(sources), device=genes.device)
    return sources, place[genes]
