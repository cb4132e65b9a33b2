"""Group genes into modules: first labels by k-means, then rounds of costs, transport and rounding.

After the gene-relation clustering of scBIG (Ruan et al. 2026, arXiv 2602.04901), with terms that are
relative to a gene's own degree and to what controls can tell.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pertcast.models.module_flow.grouping.config import GroupingConfig
from pertcast.models.module_flow.grouping.kmeans import cluster_axes
from pertcast.models.module_flow.grouping.knowledge import GeneKnowledge
from pertcast.models.module_flow.grouping.transport import mixture_plan, round_plan, transport_plan
from pertcast.models.priors import TrainingPriors


@dataclass(frozen=True, slots=True)
class Grouping:
    """Genes in modules.

    Attributes
    ----------
    labels
        (G,) int64 the module of each gene, 0..K-1; no module is empty.
    sizes
        (K,) int64.
    by_order
        Whether nothing was known of any gene, so that neighbours in the gene space were grouped.
    coverage
        Share of the genes that each term in use knows anything of: "semantic", "network", "coexpression".
    moved
        Genes that changed their module in each refinement.
    """

    labels: Tensor
    sizes: Tensor
    by_order: bool
    coverage: dict[str, float]
    moved: tuple[int, ...]


def group_genes(priors: TrainingPriors, config: GroupingConfig) -> Grouping:
    """Group the G genes of `priors`; a pure function of both.

    Parameters
    ----------
    priors
        Embedding, edges and training controls; every one may be missing.
    config
        Number and sizes of the modules, weights of the terms.

    Returns
    -------
    Grouping
        K = min(n_modules, G) modules.
    """
    n_genes = priors.gene_embedding.shape[0]
    n_modules = min(config.n_modules, n_genes)
    knowledge = GeneKnowledge.of(priors, config)
    if not any(knowledge.coverage.values()):
        labels = torch.arange(n_genes) * n_modules // max(n_genes, 1)
        return _grouping(labels, n_modules, True, knowledge, ())
    labels = cluster_axes(knowledge.features(n_modules), n_modules, config.seed)
    if config.refinements == 0:
        labels = _place(_distance_to(labels, n_modules), labels, n_modules, config)
    moved = []
    for _ in range(config.refinements):
        before = labels
        labels = _place(knowledge.cost(labels, n_modules), labels, n_modules, config)
        moved.append(int((before != labels).sum()))
        if moved[-1] == 0:
            break
    return _grouping(labels, n_modules, False, knowledge, tuple(moved))


def _grouping(
    labels: Tensor, n_modules: int, by_order: bool, knowledge: GeneKnowledge, moved: tuple[int, ...]
) -> Grouping:
    sizes = torch.bincount(labels, minlength=n_modules)
    return Grouping(labels, sizes, by_order, dict(knowledge.coverage), moved)


def _distance_to(labels: Tensor, n_modules: int) -> Tensor:
    """Return (G, K) 0 in the gene's module and 1 elsewhere: the least change that keeps the capacities."""
    return 1 - torch.nn.functional.one_hot(labels, n_modules).float()


def _place(cost: Tensor, labels: Tensor, n_modules: int, config: GroupingConfig) -> Tensor:
    capacities = balanced_capacities(labels, n_modules)
    if config.sizes == "balanced":
        return round_plan(transport_plan(cost, capacities, config.epsilon), capacities)
    plan = mixture_plan(cost, torch.bincount(labels, minlength=n_modules), config.epsilon)
    return round_plan(plan, whole_capacities(plan.exp().sum(dim=0), len(labels)))


def balanced_capacities(labels: Tensor, n_modules: int) -> Tensor:
    """Return (K,) int64 floor(G / K); the remainder goes to the modules that are largest now."""
    capacities = torch.full((n_modules,), len(labels) // n_modules)
    largest = torch.argsort(torch.bincount(labels, minlength=n_modules), descending=True, stable=True)
    capacities[largest[: len(labels) % n_modules]] += 1
    return capacities


def whole_capacities(mass: Tensor, n_genes: int) -> Tensor:
    """Return (K,) int64 capacities in proportion to `mass` (K,), by largest remainders.

    A module that would be empty gets one gene, at the expense of the largest one.
    """
    wanted = mass / mass.sum() * n_genes
    capacities = wanted.floor().long()
    order = torch.argsort(wanted - capacities, descending=True, stable=True)
    capacities[order[: n_genes - int(capacities.sum())]] += 1
    for module in torch.nonzero(capacities == 0).flatten().tolist():
        capacities[int(capacities.argmax())] -= 1
        capacities[module] = 1
    return capacities
