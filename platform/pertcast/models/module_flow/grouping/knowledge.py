"""What is known of genes, made ready once: the terms that the configuration switches on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pertcast.errors import ConfigError
from pertcast.models.module_flow.grouping.config import GroupingConfig
from pertcast.models.module_flow.grouping.terms import (
    Connections,
    axis_cost,
    network_cost,
    standard_columns,
    unit_rows,
)
from pertcast.models.priors import TrainingPriors


@dataclass(frozen=True, slots=True)
class GeneKnowledge:
    """The inputs of the terms in use.

    Attributes
    ----------
    embedding
        (G, D) float32 unit rows; zero where unknown.
    connections
        Edges of the network.
    profiles
        (G, M) float32 unit profiles over training controls; zero where nothing varies.
    weights
        Weight of each term, by name.
    coverage
        Share of the genes that each term knows anything of, by name; 0 where it is switched off.
    """

    embedding: Tensor
    connections: Connections
    profiles: Tensor
    weights: Mapping[str, float]
    coverage: Mapping[str, float]

    @classmethod
    def of(cls, priors: TrainingPriors, config: GroupingConfig) -> GeneKnowledge:
        """Make the terms' inputs ready; raises ConfigError where there is no gene."""
        n_genes = priors.gene_embedding.shape[0]
        if n_genes == 0:
            raise ConfigError("There is no gene to group; the gene space of the training store is empty.")
        embedding = unit_rows(priors.gene_embedding)[0]
        connections = Connections.of(priors.edges, priors.edge_weight, n_genes)
        profiles = standard_columns(priors.controls)
        known = {
            "semantic": embedding.any(dim=1),
            "network": connections.degree > 0,
            "coexpression": profiles.any(dim=1),
        }
        weights = {
            "semantic": config.semantic_weight,
            "network": config.network_weight,
            "coexpression": config.coexpression_weight,
        }
        coverage = {name: float(known[name].float().mean()) if weights[name] else 0.0 for name in known}
        return cls(embedding, connections, profiles, weights, coverage)

    def in_use(self, name: str) -> bool:
        """Return whether a term is switched on and knows any gene."""
        return self.coverage[name] > 0

    def features(self) -> Tensor:
        """Return (G, D) float32 features for the first labels: the best term that is there."""
        if self.in_use("semantic"):
            return self.embedding
        if self.in_use("network"):
            return neighbour_features(self.connections)
        return self.profiles

    def cost(self, labels: Tensor, n_modules: int) -> Tensor:
        """Return (G, K) weighted sum of the terms in use."""
        cost = torch.zeros(len(labels), n_modules)
        if self.in_use("semantic"):
            cost += self.weights["semantic"] * axis_cost(self.embedding, labels, n_modules)
        if self.in_use("network"):
            cost += self.weights["network"] * network_cost(self.connections, labels, n_modules)
        if self.in_use("coexpression"):
            cost += self.weights["coexpression"] * axis_cost(self.profiles, labels, n_modules)
        return cost


def neighbour_features(connections: Connections, width: int = 64, rounds: int = 8) -> Tensor:
    """Return (G, width) float32 leading eigenvectors of the normalised network, rows of unit length.

    Subspace iteration on (I + D^-1/2 A D^-1/2) / 2 from a seeded start.
    """
    degree = connections.degree
    n_genes = len(degree)
    root = degree.clamp(min=1e-30).rsqrt() * (degree > 0)
    strength = connections.weight * root[connections.source] * root[connections.target]
    places = torch.stack([connections.source, connections.target])
    network = torch.sparse_coo_tensor(places, strength, (n_genes, n_genes)).coalesce()
    start = torch.randn(n_genes, min(width, n_genes), generator=torch.Generator().manual_seed(0))
    basis = torch.linalg.qr(start).Q
    for _ in range(rounds):
        basis = torch.linalg.qr((basis + torch.sparse.mm(network, basis)) / 2).Q
    return unit_rows(basis * (degree > 0).unsqueeze(1))[0]
