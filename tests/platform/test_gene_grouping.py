"""Gene-relation clustering: sizes, determinism, planted blocks, terms and transport."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from pertcast.errors import ConfigError
from pertcast.models.module_flow.grouping.config import GroupingConfig
from pertcast.models.module_flow.grouping.grouping import group_genes, whole_capacities
from pertcast.models.module_flow.grouping.knowledge import GeneKnowledge
from pertcast.models.module_flow.grouping.similarity import nearest_genes, shared_profiles
from pertcast.models.module_flow.grouping.terms import network_cost, unit_rows
from pertcast.models.module_flow.grouping.transport import mixture_plan, round_plan, transport_plan
from pertcast.models.priors import TrainingPriors

UNEQUAL = (6, 12, 24, 48)


def planted(sizes: tuple[int, ...], seed: int = 0) -> tuple[TrainingPriors, torch.Tensor]:
    """Blocks that embedding, network and controls all show; half of a block's genes have turned signs."""
    generator = torch.Generator().manual_seed(seed)
    block = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    block = block[torch.randperm(len(block), generator=generator)]
    n_genes = len(block)
    sign = torch.where(torch.rand(n_genes, generator=generator) < 0.5, -1.0, 1.0)
    axes = torch.linalg.qr(torch.randn(16, len(sizes), generator=generator)).Q.T
    embedding = sign.unsqueeze(1) * axes[block] + 0.05 * torch.randn(n_genes, 16, generator=generator)
    activity = torch.randn(200, len(sizes), generator=generator)
    controls = activity[:, block] * sign + 0.5 * torch.randn(200, n_genes, generator=generator)
    pairs = torch.combinations(torch.arange(n_genes))
    chance = torch.where(block[pairs[:, 0]] == block[pairs[:, 1]], 0.5, 0.01)
    edges = pairs[torch.rand(len(pairs), generator=generator) < chance]
    empty = TrainingPriors.empty(n_genes)
    priors = dataclasses.replace(
        empty, controls=controls, gene_embedding=embedding, edges=edges, edge_weight=torch.ones(len(edges))
    )
    return priors, block


def same_partition(first: torch.Tensor, second: torch.Tensor) -> bool:
    pairs = set(zip(first.tolist(), second.tolist(), strict=True))
    return len(pairs) == len(set(first.tolist())) == len(set(second.tolist()))


@pytest.mark.parametrize("n_modules", [4, 7, 32])
def test_balanced_sizes_differ_by_at_most_one(n_modules: int) -> None:
    priors, _ = planted(UNEQUAL)
    found = group_genes(priors, GroupingConfig(n_modules=n_modules, sizes="balanced"))
    assert len(found.sizes) == n_modules
    assert int(found.sizes.max() - found.sizes.min()) <= 1
    assert torch.equal(found.sizes, torch.bincount(found.labels, minlength=n_modules))


@pytest.mark.parametrize("refinements", [0, 1, 6])
@pytest.mark.parametrize("sizes", ["balanced", "adaptive"])
def test_no_module_is_ever_empty(sizes: str, refinements: int) -> None:
    priors, _ = planted(UNEQUAL)
    config = GroupingConfig(n_modules=40, sizes=sizes, refinements=refinements)
    assert int(group_genes(priors, config).sizes.min()) >= 1


def test_there_are_no_more_modules_than_genes() -> None:
    priors, _ = planted((3, 4))
    found = group_genes(priors, GroupingConfig(n_modules=32))
    assert sorted(found.labels.tolist()) == list(range(7))


@pytest.mark.parametrize("sizes", ["balanced", "adaptive"])
def test_the_same_priors_and_seed_give_the_same_modules(sizes: str) -> None:
    priors, _ = planted(UNEQUAL)
    first, second = (group_genes(priors, GroupingConfig(n_modules=8, sizes=sizes)) for _ in range(2))
    assert torch.equal(first.labels, second.labels)


def test_equal_planted_blocks_are_recovered_by_balanced_modules() -> None:
    priors, block = planted((20, 20, 20, 20))
    assert same_partition(group_genes(priors, GroupingConfig(n_modules=4)).labels, block)


def with_only(*names: str) -> dict[str, float]:
    every = ("semantic_weight", "network_weight", "coexpression_weight")
    return {name: 1.0 if name in names else 0.0 for name in every}


@pytest.mark.parametrize(
    "terms",
    [
        ("semantic_weight",),
        ("coexpression_weight",),
        ("semantic_weight", "network_weight"),
        ("semantic_weight", "network_weight", "coexpression_weight"),
    ],
)
def test_unequal_planted_blocks_are_recovered_by_adaptive_modules(terms: tuple[str, ...]) -> None:
    priors, block = planted(UNEQUAL)
    found = group_genes(priors, GroupingConfig(n_modules=4, sizes="adaptive", **with_only(*terms)))
    assert same_partition(found.labels, block)


@pytest.mark.parametrize("sizes", ["balanced", "adaptive"])
def test_a_network_alone_recovers_blocks_of_equal_size(sizes: str) -> None:
    priors, block = planted((20, 20, 20, 20))
    found = group_genes(priors, GroupingConfig(n_modules=4, sizes=sizes, **with_only("network_weight")))
    assert same_partition(found.labels, block)


@pytest.mark.parametrize(
    ("weight", "part", "nothing"),
    [
        ("semantic_weight", "gene_embedding", torch.zeros(90, 0)),
        ("network_weight", "edges", torch.zeros(0, 2, dtype=torch.int64)),
        ("coexpression_weight", "controls", torch.zeros(0, 90)),
    ],
)
def test_a_term_that_is_switched_off_is_as_if_its_knowledge_were_missing(
    weight: str, part: str, nothing: torch.Tensor
) -> None:
    priors, _ = planted(UNEQUAL)
    without = dataclasses.replace(priors, **{part: nothing})
    if part == "edges":
        without = dataclasses.replace(without, edge_weight=torch.zeros(0))
    off = GroupingConfig(n_modules=9, **{weight: 0.0})
    assert torch.equal(
        group_genes(priors, off).labels, group_genes(without, GroupingConfig(n_modules=9)).labels
    )


@pytest.mark.parametrize("sizes", ["balanced", "adaptive"])
def test_permuting_genes_permutes_their_modules(sizes: str) -> None:
    priors, _ = planted((20, 20, 20, 20))
    order = torch.randperm(80, generator=torch.Generator().manual_seed(5))
    place = torch.argsort(order)
    moved = dataclasses.replace(
        priors,
        controls=priors.controls[:, order],
        gene_embedding=priors.gene_embedding[order],
        edges=place[priors.edges].sort(dim=1).values,
    )
    config = GroupingConfig(n_modules=4, sizes=sizes)
    assert same_partition(group_genes(moved, config).labels, group_genes(priors, config).labels[order])


def test_without_knowledge_genes_are_grouped_by_order_and_the_result_says_so() -> None:
    found = group_genes(TrainingPriors.empty(10), GroupingConfig(n_modules=4))
    assert found.by_order
    assert found.labels.tolist() == sorted(found.labels.tolist())
    assert int(found.sizes.max() - found.sizes.min()) <= 1


def test_coverage_says_how_many_genes_each_term_knows() -> None:
    priors, _ = planted(UNEQUAL)
    embedding = priors.gene_embedding.clone()
    embedding[:45] = 0
    partial = dataclasses.replace(priors, gene_embedding=embedding)
    found = group_genes(partial, GroupingConfig(n_modules=4, network_weight=0))
    assert found.coverage["semantic"] == 0.5
    assert found.coverage["network"] == 0.0
    assert not found.by_order


def test_a_gene_that_nothing_is_known_of_costs_the_same_everywhere() -> None:
    priors, block = planted(UNEQUAL)
    embedding, controls = priors.gene_embedding.clone(), priors.controls.clone()
    embedding[0], controls[:, 0] = 0, 0
    edges = priors.edges[(priors.edges != 0).all(dim=1)]
    blind = dataclasses.replace(
        priors, gene_embedding=embedding, controls=controls, edges=edges, edge_weight=torch.ones(len(edges))
    )
    cost = GeneKnowledge.of(blind, GroupingConfig()).cost(block, 4)
    assert float(cost[0].max() - cost[0].min()) == 0.0
    assert bool((cost[1:].max(dim=1).values > cost[1:].min(dim=1).values).all())


def test_no_gene_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="no gene to group"):
        group_genes(TrainingPriors.empty(0), GroupingConfig())


def test_controls_of_noise_share_no_profile_and_planted_ones_do() -> None:
    noise = torch.randn(200, 90, generator=torch.Generator().manual_seed(1))
    priors, _ = planted(UNEQUAL)
    assert shared_profiles(noise, 0).shape == (90, 0)
    assert shared_profiles(priors.controls, 0).shape == (90, 4)


def test_nearest_genes_agree_with_all_cosines() -> None:
    unit = unit_rows(torch.randn(60, 5, generator=torch.Generator().manual_seed(2)))[0]
    alike = (unit @ unit.T).abs().fill_diagonal_(-1)
    wanted = {tuple(sorted((row, int(other)))) for row in range(60) for other in alike[row].topk(3).indices}
    assert {tuple(pair) for pair in nearest_genes(unit, 3).tolist()} == wanted


def test_the_network_term_is_the_share_beyond_what_size_gives() -> None:
    priors, block = planted(UNEQUAL)
    knowledge = GeneKnowledge.of(priors, GroupingConfig())
    adjacency = np.zeros((90, 90))
    for first, second in priors.edges.tolist():
        adjacency[first, second] = adjacency[second, first] = 1
    inside = adjacency @ np.eye(4)[block.numpy()]
    expected = inside / adjacency.sum(axis=1, keepdims=True) - inside.sum(axis=0) / adjacency.sum()
    found = network_cost(knowledge.listed, block, 4).numpy()
    np.testing.assert_allclose(found, 1 - np.clip(expected, 0, 1), atol=1e-6)


@pytest.mark.parametrize("epsilon", [0.01, 0.1, 1.0])
def test_the_plan_has_both_marginals(epsilon: float) -> None:
    cost = torch.rand(120, 6, generator=torch.Generator().manual_seed(3))
    capacities = torch.tensor([5, 10, 15, 20, 30, 40])
    plan = transport_plan(cost, capacities, epsilon).exp()
    torch.testing.assert_close(
        plan.sum(dim=1), torch.full((120,), 1 / 120, dtype=torch.float64), rtol=1e-9, atol=0
    )
    torch.testing.assert_close(plan.sum(dim=0), capacities.double() / 120, rtol=1e-4, atol=0)


def test_the_plan_agrees_with_plain_sinkhorn() -> None:
    cost = torch.rand(50, 5, generator=torch.Generator().manual_seed(4)).double()
    capacities = torch.tensor([4, 6, 10, 10, 20])
    kernel = (-cost / 0.1).exp()
    right = torch.ones(5).double()
    for _ in range(5000):
        left = (1 / 50) / (kernel @ right)
        right = (capacities / 50) / (kernel.T @ left)
    expected = left.unsqueeze(1) * kernel * right
    torch.testing.assert_close(transport_plan(cost, capacities, 0.1).exp(), expected, rtol=1e-4, atol=1e-9)


def test_the_plan_stays_finite_where_a_plain_kernel_underflows() -> None:
    cost = 1e4 * torch.rand(60, 4, generator=torch.Generator().manual_seed(5))
    plan = transport_plan(cost, torch.full((4,), 15), 0.1)
    assert bool(torch.isfinite(plan).all())
    assert torch.equal(torch.bincount(round_plan(plan, torch.full((4,), 15))), torch.full((4,), 15))


def test_learned_shares_are_a_fixed_point_of_a_gaussian_like_mixture() -> None:
    cost = torch.ones(100, 2)
    cost[:80, 0], cost[80:, 1] = 0.0, 0.0
    mass = mixture_plan(cost, torch.tensor([50, 50]), 0.05).exp().sum(dim=0)
    torch.testing.assert_close(mass, torch.tensor([0.8, 0.2]).double(), atol=1e-6, rtol=0)


def test_rounding_follows_decreasing_mass_one_by_one() -> None:
    plan = torch.rand(40, 5, generator=torch.Generator().manual_seed(6)).log()
    capacities = torch.tensor([2, 5, 8, 11, 14])
    room, expected = capacities.tolist(), [-1] * 40
    for entry in torch.argsort(plan.flatten(), descending=True).tolist():
        gene, module = divmod(entry, 5)
        if expected[gene] < 0 and room[module]:
            expected[gene], room[module] = module, room[module] - 1
    assert round_plan(plan, capacities).tolist() == expected


def test_whole_capacities_sum_to_the_genes_and_leave_nobody_empty() -> None:
    capacities = whole_capacities(torch.tensor([0.7, 0.2999, 0.0001, 0.0]).double(), 50)
    assert int(capacities.sum()) == 50
    assert int(capacities.min()) == 1
    assert capacities.tolist() == sorted(capacities.tolist(), reverse=True)
