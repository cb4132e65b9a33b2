"""What is known of genes, made ready once: the inputs of the terms that the configuration switches on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from pertcast.errors import ConfigError
from pertcast.models.module_flow.grouping.config import GroupingConfig
from pertcast.models.module_flow.grouping.connections import Connections
from pertcast.models.module_flow.grouping.similarity import (
    nearest_genes,
    network_axes,
    shared_profiles,
    smoothed,
)
from pertcast.models.module_flow.grouping.terms import axis_cost, network_cost, unit_rows
from pertcast.models.priors import TrainingPriors

NEIGHBOURS: Final = 10


@dataclass(frozen=True, slots=True)
class GeneKnowledge:
    """The inputs of the terms in use; a part that is switched off is empty.

    Attributes
    ----------
    embedding
        (G, D) float32 unit rows, smoothed over the listed edges; zero where unknown.
    neighbours
        Edges to the genes with the most similar embeddings.
    listed
        Edges of the network.
    profiles
        (G, R) float32 what profiles over training controls share.
    weights
        Weight of each term, by name; 0 where it is switched off.
    coverage
        Share of the genes that each term knows anything of, by name.
    """

    embedding: Tensor
    neighbours: Connections
    listed: Connections
    profiles: Tensor
    weights: Mapping[str, float]
    coverage: Mapping[str, float]

    @classmethod
    def of(cls, priors: TrainingPriors, config: GroupingConfig) -> GeneKnowledge:
        """Make the terms' inputs ready; raises ConfigError where there is no gene."""
        n_genes = priors.gene_embedding.shape[0]
        if n_genes == 0:
            raise ConfigError("There is no gene to group: the gene space of the training store is empty.")
        weights = {
            "semantic": config.semantic_weight,
            "network": config.network_weight,
            "coexpression": config.coexpression_weight,
        }
        edges = slice(None if weights["network"] else 0)
        listed = Connections.of(priors.edges[edges], priors.edge_weight[edges], n_genes)
        embedding = unit_rows(priors.gene_embedding if weights["semantic"] else torch.zeros(n_genes, 0))[0]
        nearest = nearest_genes(embedding, NEIGHBOURS)
        controls = priors.controls if weights["coexpression"] else priors.controls[:0]
        profiles = shared_profiles(controls, config.seed)
        known = {
            "semantic": embedding.any(dim=1),
            "network": listed.degree > 0,
            "coexpression": profiles.any(dim=1),
        }
        return cls(
            embedding=smoothed(embedding, listed),
            neighbours=Connections.of(nearest, torch.ones(len(nearest)), n_genes),
            listed=listed,
            profiles=profiles,
            weights=weights,
            coverage={name: float(genes.float().mean()) for name, genes in known.items()},
        )

    def features(self, n_modules: int) -> Tensor:
        """Return (G, D) float32 unit rows for the first labels: the first of the terms that knows a gene."""
        if self.coverage["semantic"]:
            return self.embedding
        if self.coverage["network"]:
            return network_axes(self.listed, min(n_modules, 64))
        return unit_rows(self.profiles)[0]

    def cost(self, labels: Tensor, n_modules: int) -> Tensor:
        """Return (G, K) weighted sum of the terms for the present labels."""
        cost = torch.zeros(len(labels), n_modules)
        if self.coverage["semantic"]:
            near = network_cost(self.neighbours, labels, n_modules)
            cost += self.weights["semantic"] * (axis_cost(self.embedding, labels, n_modules) + near)
        if self.coverage["network"]:
            cost += self.weights["network"] * network_cost(self.listed, labels, n_modules)
        if self.coverage["coexpression"]:
            cost += self.weights["coexpression"] * axis_cost(self.profiles, labels, n_modules)
        return cost
