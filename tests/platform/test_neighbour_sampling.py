"""Neighbour sampling on compressed rows, and the batches that attention trains on."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from pertcast.models.multiplex_network.integration.multiplex import NetworkLayer
from pertcast.models.multiplex_network.integration.neighbour_sampling import Block, Neighbourhoods
from pertcast.models.multiplex_network.integration.reconstruction import batches
from torch import Tensor

CPU = torch.device("cpu")


def random_layer(n_genes: int, share: float, seed: int) -> NetworkLayer:
    generator = torch.Generator().manual_seed(seed)
    edges = torch.combinations(torch.arange(n_genes))
    edges = edges[torch.rand(len(edges), generator=generator) < share]
    return NetworkLayer("random", edges, torch.rand(len(edges), generator=generator) + 0.1)


def dense(layer: NetworkLayer, n_genes: int) -> Tensor:
    matrix = torch.zeros(n_genes, n_genes)
    first, second = layer.edges.T
    matrix[first, second] = matrix[second, first] = layer.weight
    return matrix


def neighbours_of(block: Block, target: int) -> tuple[Tensor, Tensor]:
    """Return genes and weights of a target's edges, the self loop left out."""
    start, end = block.offset[target] + 1, block.offset[target + 1]
    return block.sources[block.source[start:end]], block.weight[start:end]


def stars(copies: int, leaves: int) -> NetworkLayer:
    """Return `copies` genes with `leaves` neighbours of their own each."""
    centre = torch.arange(copies).repeat_interleave(leaves)
    leaf = copies + torch.arange(copies * leaves)
    return NetworkLayer("stars", torch.stack((centre, leaf), 1), torch.arange(1.0, leaves + 1).repeat(copies))


@settings(max_examples=40, deadline=None)
@given(some.integers(3, 30), some.floats(0.05, 0.9), some.integers(1, 6), some.integers(0, 999))
def test_a_gene_gets_distinct_neighbours_and_nothing_else(
    n_genes: int, share: float, limit: int, seed: int
) -> None:
    layer = random_layer(n_genes, share, seed)
    if not len(layer.edges):
        return
    matrix = dense(layer, n_genes)
    network = Neighbourhoods.of(layer, n_genes, CPU)
    genes = torch.randperm(n_genes, generator=torch.Generator().manual_seed(seed))
    block = network.sample(genes, limit, torch.Generator().manual_seed(seed))
    for target, gene in enumerate(genes.tolist()):
        found, weight = neighbours_of(block, target)
        degree = int((matrix[gene] > 0).sum())
        assert len(found.unique()) == len(found) == min(degree, limit)
        assert (matrix[gene, found] > 0).all()
        torch.testing.assert_close(weight, matrix[gene, found] * degree / max(len(found), 1))


def test_a_gene_with_few_neighbours_gives_all_of_them_with_their_weights() -> None:
    layer = random_layer(40, 0.2, 0)
    network = Neighbourhoods.of(layer, 40, CPU)
    genes = torch.arange(40)
    block = network.all_of(genes)
    sampled = network.sample(genes, 40, torch.Generator().manual_seed(0))
    assert torch.equal(sampled.source, block.source) and torch.equal(sampled.weight, block.weight)
    rebuilt = torch.zeros(40, 40)
    target = block.target()
    rebuilt[target, block.sources[block.source]] = block.weight
    off = rebuilt.clone().fill_diagonal_(0)
    assert torch.equal(off, dense(layer, 40))


def test_the_first_edge_of_every_target_is_its_self_loop_of_mean_weight() -> None:
    layer = NetworkLayer("path", torch.tensor([[0, 1], [1, 2]]), torch.tensor([1.0, 3.0]))
    network = Neighbourhoods.of(layer, 4, CPU)
    block = network.all_of(torch.tensor([3, 1]))
    own = block.offset[:-1]
    assert block.sources[block.source[own]].tolist() == [3, 1]
    assert block.weight[own].tolist() == [1.0, 2.0]
    assert block.sources.tolist() == [3, 1, 0, 2]


def test_every_subset_of_neighbours_is_as_likely() -> None:
    copies, leaves, limit = 6000, 6, 2
    network = Neighbourhoods.of(stars(copies, leaves), copies * (leaves + 1), CPU)
    block = network.sample(torch.arange(copies), limit, torch.Generator().manual_seed(3))
    edges = torch.stack((block.offset[:-1] + 1, block.offset[:-1] + 2), 1)
    leaf = (block.sources[block.source[edges]] - copies) % leaves
    low, high = leaf.sort(1).values.T
    observed = (low * leaves + high).bincount(minlength=leaves**2)
    observed = observed[observed > 0]
    expected = copies / 15
    assert len(observed) == 15
    statistic = ((observed - expected) ** 2 / expected).sum()
    assert statistic < 36.1, "chi-square of 14 degrees of freedom, p = .001"


def test_sampled_weights_sum_to_those_of_all_neighbours_on_average() -> None:
    copies, leaves = 4000, 9
    network = Neighbourhoods.of(stars(copies, leaves), copies * (leaves + 1), CPU)
    block = network.sample(torch.arange(copies), 3, torch.Generator().manual_seed(0))
    total = block.weight.sum() - network.own_weight[:copies].sum()
    assert float(total) / copies == pytest.approx(leaves * (leaves + 1) / 2, rel=0.02)


def test_blocks_chain_from_the_widest_to_the_genes_asked_for() -> None:
    network = Neighbourhoods.of(random_layer(60, 0.1, 1), 60, CPU)
    genes = torch.tensor([5, 41, 7])
    first, second, third = network.blocks(genes, 3, 2, torch.Generator().manual_seed(0))
    assert torch.equal(third.sources[:3], genes)
    assert torch.equal(second.sources[: second.n_targets], third.sources)
    assert torch.equal(first.sources[: first.n_targets], second.sources)


def test_the_order_of_edges_changes_nothing() -> None:
    layer = random_layer(50, 0.2, 5)
    order = torch.randperm(len(layer.edges), generator=torch.Generator().manual_seed(1))
    shuffled = NetworkLayer("shuffled", layer.edges[order].flip(1), layer.weight[order])
    one, other = (
        Neighbourhoods.of(each, 50, CPU).sample(torch.arange(50), 3, torch.Generator().manual_seed(2))
        for each in (layer, shuffled)
    )
    assert torch.equal(one.source, other.source)
    torch.testing.assert_close(one.weight, other.weight)


def test_edges_between_genes_are_those_of_the_induced_network() -> None:
    layer = random_layer(40, 0.3, 7)
    network = Neighbourhoods.of(layer, 40, CPU)
    genes = torch.tensor([31, 2, 17, 8, 25])
    first, second, entry = network.between(genes)
    found = torch.zeros(5, 5)
    found[first, second] = network.weight[entry]
    assert torch.equal(found, dense(layer, 40)[genes][:, genes])


def test_batches_cover_all_genes_and_stay_within_their_size() -> None:
    networks = [Neighbourhoods.of(random_layer(300, 0.02, seed), 300, CPU) for seed in (0, 1)]
    drawn = list(batches(networks, 64, torch.Generator().manual_seed(0)))
    assert all(len(each) <= 64 and len(each.unique()) == len(each) for each in drawn)
    assert torch.cat(drawn).unique().tolist() == list(range(300))


def test_batches_hold_many_more_edges_than_random_genes() -> None:
    n_genes = 1500
    network = Neighbourhoods.of(random_layer(n_genes, 0.002, 0), n_genes, CPU)
    generator = torch.Generator().manual_seed(0)
    grown = [len(network.between(each)[0]) / len(each) for each in batches([network], 80, generator)]
    random = [
        len(network.between(each)[0]) / len(each)
        for each in torch.randperm(n_genes, generator=generator).split(80)
    ]
    assert sum(grown) / len(grown) > 3 * sum(random) / len(random)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_device_draws_what_the_cpu_draws() -> None:
    layer, genes = random_layer(50, 0.4, 0), torch.arange(50)
    here, there = (
        Neighbourhoods.of(layer, 50, torch.device(device)).sample(
            genes.to(device), 3, torch.Generator().manual_seed(0)
        )
        for device in ("cpu", "cuda")
    )
    assert torch.equal(here.source, there.source.cpu())
