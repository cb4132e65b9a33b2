"""Are connected genes in one module more often than chance: edges within modules against shuffled labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class ModuleEnrichment:
    """Edges within modules, observed and where labels are shuffled (sizes stay as they are).

    Attributes
    ----------
    density
        (K,) float64 edges within each module over its pairs of genes; 0 for a module of one gene.
    z
        (K,) float64 standard deviations above the mean of shuffled labels; 0 where shuffling never differs.
    total_z
        The same for the edges within all modules together.
    """

    density: Tensor
    z: Tensor
    total_z: float


def module_enrichment(
    labels: Tensor, edges: Tensor, n_permutations: int = 100, seed: int = 0
) -> ModuleEnrichment:
    """Compare the edges within modules with those under permutations of the labels.

    Parameters
    ----------
    labels
        (G,) int64 the module of each gene, 0..K-1.
    edges
        (E, 2) int64 connected genes, each pair once; a gene's edge to itself is left out.
    n_permutations
        Permutations of the labels, at least 2.
    seed
        Of the permutations.
    """
    n_modules = int(labels.max()) + 1
    edges = edges[edges[:, 0] != edges[:, 1]]
    generator = torch.Generator().manual_seed(seed)
    observed = _edges_within(labels, edges, n_modules)
    shuffled = torch.stack(
        [
            _edges_within(labels[torch.randperm(len(labels), generator=generator)], edges, n_modules)
            for _ in range(n_permutations)
        ]
    )
    sizes = torch.bincount(labels, minlength=n_modules).double()
    pairs = sizes * (sizes - 1) / 2
    total = _z(observed.sum().unsqueeze(0), shuffled.sum(dim=1, keepdim=True))
    return ModuleEnrichment(observed / pairs.clamp(min=1), _z(observed, shuffled), float(total))


def _edges_within(labels: Tensor, edges: Tensor, n_modules: int) -> Tensor:
    first = labels[edges[:, 0]]
    inside = first[first == labels[edges[:, 1]]]
    return torch.bincount(inside, minlength=n_modules).double()


def _z(observed: Tensor, shuffled: Tensor) -> Tensor:
    spread = shuffled.std(dim=0)
    z = (observed - shuffled.mean(dim=0)) / spread.clamp(min=1e-12)
    return torch.where(spread > 0, z, 0.0)
