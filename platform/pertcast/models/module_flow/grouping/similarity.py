"""From tables of genes to what the terms compare: neighbours, smoothed embeddings, shared profiles."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from pertcast.models.module_flow.grouping.connections import Connections
from pertcast.models.module_flow.grouping.terms import unit_rows

_BLOCK: Final = 1024
_MOST_CONTROLS: Final = 1000
_VALUES: Final = 1 << 24


def nearest_genes(unit: Tensor, n_neighbours: int) -> Tensor:
    """Return (E, 2) int64 pairs, first < second: each gene and the genes with the largest |cosine| to it.

    Rows of zeros have no neighbours. Computed in blocks of 1,024 genes.
    """
    known = torch.nonzero(unit.any(dim=1)).squeeze(1)
    rows = unit[known]
    count = min(n_neighbours, len(rows) - 1)
    if count < 1:
        return torch.zeros(0, 2, dtype=torch.int64)
    found = []
    for start in range(0, len(rows), _BLOCK):
        alike = (rows[start : start + _BLOCK] @ rows.T).abs()
        own = torch.arange(len(alike))
        alike[own, own + start] = -1.0
        found.append(alike.topk(count, dim=1).indices)
    first = torch.arange(len(rows)).repeat_interleave(count)
    second = torch.cat(found).flatten()
    pairs = torch.stack([torch.minimum(first, second), torch.maximum(first, second)], dim=1)
    key = torch.unique(pairs[:, 0] * len(rows) + pairs[:, 1])
    return known[torch.stack([key // len(rows), key % len(rows)], dim=1)]


def smoothed(unit: Tensor, connections: Connections) -> Tensor:
    """Return (G, D) unit rows: each gene's row plus the mean of its connected genes' rows.

    Every connected gene counts by the cosine between the two, so that one that points the opposite way is
    turned, and a connection that the embedding does not bear out says little.
    """
    cosine = _edge_cosines(unit, connections)
    weight = (connections.weight * cosine).unsqueeze(1)
    total = torch.zeros(len(unit)).index_add_(0, connections.source, weight.squeeze(1).abs())
    places = torch.stack([connections.source, connections.target])
    pull = torch.sparse_coo_tensor(places, weight.squeeze(1), (len(unit), len(unit)), check_invariants=False)
    return unit_rows(unit + torch.sparse.mm(pull, unit) / total.clamp(min=1e-12).unsqueeze(1))[0]


def _edge_cosines(unit: Tensor, connections: Connections) -> Tensor:
    cosines = torch.zeros(len(connections.source))
    step = max(1, _VALUES // max(unit.shape[1], 1))
    for start in range(0, len(cosines), step):
        part = slice(start, start + step)
        cosines[part] = (unit[connections.source[part]] * unit[connections.target[part]]).sum(dim=1)
    return cosines


def network_axes(connections: Connections, width: int, rounds: int = 30) -> Tensor:
    """Return (G, width) float32 leading eigenvectors of the normalised network, rows of unit length.

    Subspace iteration on (I + D^-1/2 A D^-1/2) / 2 from a seeded start; D are the degrees plus their mean, so
    that genes of few edges do not rule (Qin & Rohe 2013). Genes without edges are zero.
    """
    degree = connections.degree
    n_genes = len(degree)
    root = (degree + degree.mean()).clamp(min=1e-30).rsqrt()
    strength = connections.weight * root[connections.source] * root[connections.target]
    places = torch.stack([connections.source, connections.target])
    network = torch.sparse_coo_tensor(places, strength, (n_genes, n_genes), check_invariants=False).coalesce()
    start = torch.randn(n_genes, min(width, n_genes), generator=torch.Generator().manual_seed(0))
    basis = torch.linalg.qr(start).Q
    for _ in range(rounds):
        basis = torch.linalg.qr((basis + torch.sparse.mm(network, basis)) / 2).Q
    return unit_rows(basis * (degree > 0).unsqueeze(1))[0]


def shared_profiles(controls: Tensor, seed: int) -> Tensor:
    """Return (G, R) float32 what the genes' profiles over controls share; its row products are correlations.

    Each gene is standardised over M controls (at most 1,000, evenly spaced) and projected on the
    components that are larger than any component of the same profiles with every gene shuffled by itself
    (Horn's parallel analysis, 1965): R is 0 where controls vary by noise alone.

    Parameters
    ----------
    controls
        (M, G).
    seed
        Of the shuffling.
    """
    step = max(1, -(-len(controls) // _MOST_CONTROLS))
    profiles = controls[::step].T.float()
    if profiles.shape[1] < 3:
        return profiles.new_zeros(len(profiles), 0)
    unit = unit_rows(profiles - profiles.mean(dim=1, keepdim=True))[0]
    values, vectors = torch.linalg.eigh((unit.T @ unit).double())
    generator = torch.Generator().manual_seed(seed)
    shuffled = unit.gather(1, torch.rand(unit.shape, generator=generator).argsort(dim=1))
    largest = torch.linalg.eigvalsh((shuffled.T @ shuffled).double())[-1]
    shared: Tensor = vectors[:, values > largest].float()
    return unit @ shared
