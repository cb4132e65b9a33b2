"""Edges between genes, read in both directions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
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
