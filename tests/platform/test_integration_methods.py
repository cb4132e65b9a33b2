"""Networks become features: what they approach, who is alike, and what does not change them."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from pertcast.models.multiplex_network.integration.config import IntegrationConfig, IntegrationMethod
from pertcast.models.multiplex_network.integration.integrate import METHODS, integrate
from pertcast.models.multiplex_network.integration.multiplex import Multiplex, NetworkLayer
from pertcast.models.multiplex_network.integration.own_genes import own_network
from pertcast.models.multiplex_network.integration.random_walk import walk_similarity
from pertcast.models.multiplex_network.integration.union import joined_layer
from torch import Tensor

CLOSED_FORM: tuple[IntegrationMethod, ...] = ("union", "spectral", "random_walk")
CPU = torch.device("cpu")


def layer(name: str, edges: Tensor, weight: Tensor | None = None) -> NetworkLayer:
    edges = edges.sort(dim=1).values.unique(dim=0)
    return NetworkLayer(name, edges, torch.ones(len(edges)) if weight is None else weight)


def chain(n_genes: int) -> Multiplex:
    edges = torch.stack((torch.arange(n_genes - 1), torch.arange(1, n_genes)), dim=1)
    return Multiplex(n_genes, (layer("chain", edges),))


def modules(seed: int, genes: Tensor, size: int = 10, inside: float = 0.6, outside: float = 0.02) -> Tensor:
    """Return edges among genes that fall into modules by their number."""
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.combinations(genes)
    chance = torch.where(pairs[:, 0] // size == pairs[:, 1] // size, inside, outside)
    return pairs[torch.rand(len(pairs), generator=generator) < chance]


@pytest.fixture(scope="module")
def two_layers() -> Multiplex:
    """Genes 0-69 in one network, 30-99 in the other: modules of ten; gene 100 in none."""
    return Multiplex(
        101,
        (layer("one", modules(0, torch.arange(70))), layer("two", modules(1, torch.arange(30, 100)))),
    )


def features(multiplex: Multiplex, method: IntegrationMethod, components: int) -> Tensor:
    return integrate(multiplex, components, IntegrationConfig(method=method)).features


def unit(values: Tensor) -> Tensor:
    return values / values.norm(dim=1, keepdim=True).clamp(min=1e-12)


def test_every_configured_method_has_a_function() -> None:
    assert set(METHODS) == set(get_args(IntegrationMethod))


@pytest.mark.parametrize("method", CLOSED_FORM)
@pytest.mark.parametrize("n_genes", [40, 1100])
def test_near_genes_of_a_chain_have_similar_features(method: IntegrationMethod, n_genes: int) -> None:
    values = features(chain(n_genes), method, 16)
    steps = [1, n_genes // 8, n_genes // 3]
    unit_values = unit(values)
    similarity = [float((unit_values[:-step] * unit_values[step:]).sum(dim=1).mean()) for step in steps]
    assert similarity[0] > 0.6 and similarity[0] > similarity[1] + 0.2
    assert float(values.square().sum(dim=1).mean()) == pytest.approx(1, rel=1e-5)


def test_the_union_is_the_kernel_of_the_walk() -> None:
    whole = features(chain(300), "union", 299).double()
    adjacent = torch.diag(torch.ones(299, dtype=torch.float64), 1)
    adjacent = adjacent + adjacent.T
    degree = adjacent.sum(dim=1)
    root = (degree + degree.mean()).sqrt()
    walk = (adjacent + degree.mean() / 300) / torch.outer(root, root)
    kernel = 0.15 * torch.linalg.inv(torch.eye(300, dtype=torch.float64) - 0.85 * walk)
    trivial = root / root.norm()
    kernel = kernel - torch.outer(trivial, trivial)
    torch.testing.assert_close(whole @ whole.T, kernel * 300 / kernel.trace(), atol=1e-5, rtol=0)


def test_fewer_components_of_the_union_are_the_first_of_more() -> None:
    whole, few = features(chain(300), "union", 299), features(chain(300), "union", 16)
    ratio = few / whole[:, :16]
    torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio), rtol=2e-2, atol=0)


def test_islands_of_two_genes_do_not_use_up_the_union() -> None:
    pairs = 100 + torch.arange(100).reshape(-1, 2)
    edges = torch.cat((chain(100).layers[0].edges, pairs))
    values = features(Multiplex(200, (layer("islands", edges),)), "union", 8)
    assert values[:100].square().sum() > 10 * values[100:].square().sum()


def test_networks_are_joined_with_their_mean_weight_as_the_unit() -> None:
    first = NetworkLayer("a", torch.tensor([[0, 1], [1, 2]]), torch.tensor([300.0, 900.0]))
    second = NetworkLayer("b", torch.tensor([[0, 2], [1, 2]]), torch.tensor([0.5, 0.5]))
    joined = joined_layer(Multiplex(3, (first, second)))
    assert joined.edges.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert joined.weight.tolist() == [0.5, 1.0, 2.5]


@pytest.mark.parametrize("method", CLOSED_FORM)
def test_the_order_of_edges_and_of_calls_changes_nothing(
    method: IntegrationMethod, two_layers: Multiplex
) -> None:
    turned = []
    for each in two_layers.layers:
        order = torch.randperm(len(each.edges), generator=torch.Generator().manual_seed(2))
        turned.append(NetworkLayer(each.name, each.edges[order], each.weight[order]))
    values = features(two_layers, method, 12)
    assert torch.equal(values, features(two_layers, method, 12))
    assert torch.equal(values, features(Multiplex(101, tuple(turned)), method, 12))


@pytest.mark.parametrize("method", CLOSED_FORM)
def test_genes_of_one_network_and_of_both_are_near_their_module(
    method: IntegrationMethod, two_layers: Multiplex
) -> None:
    cosine = unit(features(two_layers, method, 12)[:100])
    cosine = cosine @ cosine.T
    module = torch.arange(100) // 10
    together = (module[:, None] == module) & ~torch.eye(100, dtype=torch.bool)
    apart = module[:, None] != module
    for genes in (slice(0, 30), slice(30, 70), slice(70, 100)):
        near, far = cosine[genes][together[genes]].mean(), cosine[genes][apart[genes]].mean()
        assert near > 0.6 and near > far + 0.5


@pytest.mark.parametrize("method", ["spectral", "random_walk"])
def test_a_gene_is_not_shortened_because_a_network_does_not_know_it(
    method: IntegrationMethod, two_layers: Multiplex
) -> None:
    length = features(two_layers, method, 12).norm(dim=1)
    in_one, in_both = torch.cat((length[:30], length[70:100])).mean(), length[30:70].mean()
    assert 0.8 < float(in_one / in_both) < 1.25
    assert float(length[100]) < 1e-6


@pytest.mark.parametrize("method", CLOSED_FORM)
def test_the_scale_of_a_networks_weights_does_not_count(
    method: IntegrationMethod, two_layers: Multiplex
) -> None:
    one, two = two_layers.layers
    scaled = Multiplex(101, (one, NetworkLayer(two.name, two.edges, two.weight * 1024)))
    torch.testing.assert_close(
        features(two_layers, method, 12), features(scaled, method, 12), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("method", CLOSED_FORM)
def test_a_network_without_edges_changes_nothing_and_none_at_all_gives_zeros(
    method: IntegrationMethod, two_layers: Multiplex
) -> None:
    empty = NetworkLayer("empty", torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0))
    more = Multiplex(101, (*two_layers.layers, empty))
    assert torch.equal(features(two_layers, method, 12), features(more, method, 12))
    assert not features(Multiplex(5, (empty,)), method, 3).any()


def test_similarity_of_walks_is_their_odds_against_chance_where_above_it() -> None:
    edges = modules(3, torch.arange(60))
    own = own_network(layer("one", edges), CPU)
    pairs, similarity = walk_similarity(own, 0.3)
    dense = own.matrix.to_dense()
    degree = dense.sum(dim=1) + dense.sum(dim=1).mean()
    walk = (dense + dense.sum(dim=1).mean() / len(dense)) / torch.outer(degree, degree).sqrt()
    kernel = 0.3 * torch.linalg.inv(torch.eye(len(dense), dtype=torch.float64) - 0.7 * walk)
    odds = degree.sum() * kernel / torch.outer(degree, degree).sqrt()
    kept = torch.triu((odds > 1) | (dense > 0), diagonal=1)
    assert pairs.tolist() == kept.nonzero().tolist()
    torch.testing.assert_close(similarity, odds[kept].log1p(), rtol=1e-4, atol=1e-5)


def test_every_gene_with_an_edge_has_features_of_walks() -> None:
    spokes = torch.stack((torch.zeros(59, dtype=torch.int64), torch.arange(1, 60)), dim=1)
    edges = torch.cat((spokes, modules(4, torch.arange(1, 60))))
    values = features(Multiplex(60, (layer("hub", edges),)), "random_walk", 12)
    assert float(values.norm(dim=1).min()) > 0.05


@pytest.mark.parametrize("method", CLOSED_FORM)
def test_progress_ends_at_its_total(method: IntegrationMethod, two_layers: Multiplex) -> None:
    seen: list[tuple[int, int]] = []
    config = IntegrationConfig(method=method)
    integrate(two_layers, 4, config, progress=lambda done, total, note: seen.append((done, total)))
    assert seen and seen[-1][0] == seen[-1][1] and seen == sorted(seen)
