"""Edges held out of a multiplex, and pairs of genes without an edge to tell them from.

A score that only knows how well studied a gene is ranks held-out edges of real networks well above random
pairs. Negatives of the same degrees take that away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from pertcast.models.multiplex_network.integration.multiplex import Multiplex, NetworkLayer

Scope = Literal["this layer", "all layers"]
"""Where held-out edges are removed: from their layer alone, or from every layer that lists them."""

Negatives = Literal["random", "degree-matched"]

_DRAWS: Final = 200
_LEAST_CHOICE: Final = 20
_DEGREE_BAND: Final = 1.1


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A multiplex without some edges of one layer.

    Attributes
    ----------
    multiplex
        What is left to learn from.
    edges
        (P, 2) int64 held-out edges, first < second, sorted.
    """

    multiplex: Multiplex
    edges: Tensor


def hold_out(
    multiplex: Multiplex, layer: int, share: float, scope: Scope, generator: torch.Generator
) -> HeldOut:
    """Hold out a share of a layer's edges, never the last edge of a gene.

    Each gene keeps one edge of its own choice, of another layer where it has one; the others may be drawn.
    Both scopes hold out the same edges for the same state of the generator.

    Parameters
    ----------
    multiplex
        The networks.
    layer
        Which of them.
    share
        Share of its edges, 0 to 1; fewer where too many are the last of a gene.
    scope
        Where they are removed.
    generator
        What is drawn from.
    """
    keys = [edge_keys(each.edges, multiplex.n_genes) for each in multiplex.layers]
    own = keys[layer]
    elsewhere = torch.cat([own[:0], *(key for place, key in enumerate(keys) if place != layer)])
    free = own[~torch.isin(own, _kept(own, elsewhere, multiplex.n_genes, generator))]
    wanted = min(round(share * len(own)), len(free))
    held_out = free[torch.randperm(len(free), generator=generator)[:wanted]].sort().values
    layers = tuple(
        _without(each, key, held_out) if place == layer or scope == "all layers" else each
        for place, (each, key) in enumerate(zip(multiplex.layers, keys, strict=True))
    )
    return HeldOut(Multiplex(multiplex.n_genes, layers), edges_of(held_out, multiplex.n_genes))


def _kept(own: Tensor, elsewhere: Tensor, n_genes: int, generator: torch.Generator) -> Tensor:
    """Return keys of one edge a gene: one that no draw can touch where there is one, else a random one."""
    every = torch.unique(torch.cat((own, elsewhere)))
    rank = torch.rand(len(every), generator=generator, dtype=torch.float64)
    rank += torch.isin(every, own)
    best = torch.full((n_genes,), torch.inf, dtype=torch.float64)
    ends = edges_of(every, n_genes)
    for side in (0, 1):
        best.scatter_reduce_(0, ends[:, side], rank, "amin")
    kept: Tensor = (rank[:, None] == best[ends]).any(dim=1)
    chosen: Tensor = every[kept]
    return chosen


def _without(layer: NetworkLayer, keys: Tensor, held_out: Tensor) -> NetworkLayer:
    stays = ~torch.isin(keys, held_out)
    return NetworkLayer(layer.name, layer.edges[stays], layer.weight[stays])


def draw_negatives(
    held_out: HeldOut, whole: Multiplex, layer: int, kind: Negatives, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return held-out edges and, row by row, a pair of genes of the layer that is an edge of no layer.

    "random": two genes of the layer. "degree-matched": one end of the held-out edge (each in turn) is
    replaced by a gene of nearly its degree (within a tenth; the nearest 20 where those are fewer), so that
    pairs of degrees are distributed alike. Degrees are those of the layer without the held-out edges: what a
    predictor sees. A pair is drawn once at most; an edge for which none is found leaves both lists.

    Parameters
    ----------
    held_out
        Edges held out of a layer.
    whole
        The multiplex with them.
    layer
        Which layer.
    kind
        How pairs are drawn.
    generator
        What is drawn from.

    Returns
    -------
    tuple
        (P', 2) and (P', 2) int64.
    """
    taken = torch.cat([edge_keys(each.edges, whole.n_genes) for each in whole.layers])
    genes = whole.layers[layer].genes()
    degree = torch.bincount(held_out.multiplex.layers[layer].edges.flatten(), minlength=whole.n_genes)
    choice = _Choice(genes[degree[genes].argsort(stable=True)], degree)
    positives = held_out.edges
    kept_and_replaced = positives.clone()
    kept_and_replaced[1::2] = positives[1::2].flip(1)
    found = torch.full((len(positives),), -1, dtype=torch.int64)
    for _ in range(_DRAWS):
        open_rows = (found < 0).nonzero()[:, 0]
        if not len(open_rows):
            break
        if kind == "random":
            pairs = choice.anything(2 * len(open_rows), generator).reshape(-1, 2)
        else:
            kept, replaced = kept_and_replaced[open_rows].unbind(1)
            pairs = torch.stack((kept, choice.alike(replaced, generator)), dim=1)
        keys = edge_keys(pairs.sort(dim=1).values, whole.n_genes)
        usable = (pairs[:, 0] != pairs[:, 1]) & ~torch.isin(keys, taken) & ~torch.isin(keys, found)
        usable &= _first_of_each(keys)
        found[open_rows[usable]] = keys[usable]
    drawn = found >= 0
    return positives[drawn], edges_of(found[drawn], whole.n_genes)


class _Choice:
    """Genes to draw from, in the order of their degree."""

    def __init__(self, genes: Tensor, degree: Tensor) -> None:
        self.genes, self.degree = genes, degree.double()
        self.ordered = self.degree[genes].contiguous()

    def anything(self, count: int, generator: torch.Generator) -> Tensor:
        return self.genes[torch.randint(len(self.genes), (count,), generator=generator)]

    def alike(self, genes: Tensor, generator: torch.Generator) -> Tensor:
        degree = self.degree[genes]
        low = torch.searchsorted(self.ordered, degree / _DEGREE_BAND, side="left")
        high = torch.searchsorted(self.ordered, degree * _DEGREE_BAND, side="right")
        short = (_LEAST_CHOICE - (high - low)).clamp(min=0)
        low, high = (low - short // 2).clamp(min=0), (high + (short + 1) // 2).clamp(max=len(self.genes))
        drawn = torch.rand(len(genes), generator=generator, dtype=torch.float64)
        return self.genes[low + (drawn * (high - low)).long().minimum(high - low - 1)]


def _first_of_each(keys: Tensor) -> Tensor:
    """Return (K,) bool: no earlier entry is equal."""
    ordered, order = keys.sort(stable=True)
    fresh = torch.ones(len(keys), dtype=torch.bool)
    fresh[order[1:]] = ordered[1:] != ordered[:-1]
    return fresh


def edge_keys(edges: Tensor, n_genes: int) -> Tensor:
    """Return (E,) int64 one number a pair."""
    return edges[:, 0] * n_genes + edges[:, 1]


def edges_of(keys: Tensor, n_genes: int) -> Tensor:
    """Return (E, 2) int64 pairs of their numbers."""
    return torch.stack((keys // n_genes, keys % n_genes), dim=1)
