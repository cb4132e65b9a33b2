"""Held-out edges judge methods: nothing leaks, negatives are matched, and ranks are counted right."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pertcast.evaluation.links.held_out_edges import (
    Scope,
    draw_negatives,
    edge_keys,
    hold_out,
)
from pertcast.evaluation.links.link_prediction import LinkScore, link_prediction
from pertcast.evaluation.links.neighbourhood_scores import (
    NEIGHBOURHOOD_SCORES,
    neighbourhood_scores,
)
from pertcast.evaluation.metrics.gene_lists import average_precision, roc_area
from pertcast.models.multiplex_network.integration.multiplex import Multiplex, NetworkLayer
from pertcast_data.errors import ConfigError
from torch import Tensor

Scores = list[int]


def layer(name: str, chance: Tensor, seed: int) -> NetworkLayer:
    drawn = torch.rand(chance.shape, generator=torch.Generator().manual_seed(seed)) < chance
    edges = torch.triu(drawn, 1).nonzero()
    return NetworkLayer(name, edges, torch.ones(len(edges)))


@pytest.fixture(scope="module")
def multiplex() -> Multiplex:
    """240 genes in modules of 20, some far more popular than others; two networks of the same modules."""
    module = torch.arange(240) // 20
    popular = torch.rand(240, generator=torch.Generator().manual_seed(9)).pow(3) * 0.9 + 0.1
    chance = torch.where(module[:, None] == module, 1.5, 0.1) * torch.outer(popular, popular).sqrt()
    return Multiplex(240, (layer("one", chance, 0), layer("two", chance, 1)))


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def keys(network: NetworkLayer) -> set[int]:
    return set(edge_keys(network.edges, 240).tolist())


@pytest.mark.parametrize("scope", ["this layer", "all layers"])
def test_held_out_edges_are_gone_from_where_the_scope_says_and_nothing_else_is(
    multiplex: Multiplex, scope: Scope
) -> None:
    held_out = hold_out(multiplex, 0, 0.1, scope, drawn())
    gone = set(edge_keys(held_out.edges, 240).tolist())
    assert len(gone) == round(0.1 * len(multiplex.layers[0].edges)) and gone <= keys(multiplex.layers[0])
    assert keys(held_out.multiplex.layers[0]) == keys(multiplex.layers[0]) - gone
    listed_twice = gone & keys(multiplex.layers[1])
    assert listed_twice
    left = keys(multiplex.layers[1]) - (gone if scope == "all layers" else set())
    assert keys(held_out.multiplex.layers[1]) == left


def test_both_scopes_hold_out_the_same_edges_and_seeds_other_ones(multiplex: Multiplex) -> None:
    here, everywhere = (hold_out(multiplex, 0, 0.1, scope, drawn()) for scope in ("this layer", "all layers"))
    assert torch.equal(here.edges, everywhere.edges)
    assert not torch.equal(here.edges, hold_out(multiplex, 0, 0.1, "all layers", drawn(1)).edges)


def test_no_gene_loses_its_last_edge_even_if_all_are_asked_for(multiplex: Multiplex) -> None:
    before = torch.cat([each.edges for each in multiplex.layers]).unique()
    held_out = hold_out(multiplex, 0, 1.0, "all layers", drawn())
    after = torch.cat([each.edges for each in held_out.multiplex.layers]).unique()
    assert torch.equal(before, after) and len(held_out.edges) > 0.8 * len(multiplex.layers[0].edges)


def test_an_edge_elsewhere_frees_all_edges_of_a_gene() -> None:
    star = NetworkLayer("star", torch.tensor([[0, 1], [0, 2], [0, 3]]), torch.ones(3))
    other = NetworkLayer("other", torch.tensor([[0, 4], [1, 2], [1, 3]]), torch.ones(3))
    assert len(hold_out(Multiplex(5, (star,)), 0, 1.0, "all layers", drawn()).edges) == 0
    assert len(hold_out(Multiplex(5, (star, other)), 0, 1.0, "all layers", drawn()).edges) == 3


@pytest.mark.parametrize("kind", ["random", "degree-matched"])
def test_negatives_are_distinct_pairs_of_the_layers_genes_and_edges_of_no_layer(
    multiplex: Multiplex, kind: str
) -> None:
    held_out = hold_out(multiplex, 0, 0.1, "all layers", drawn())
    edges, pairs = draw_negatives(held_out, multiplex, 0, kind, drawn())  # type: ignore[arg-type]
    assert edges.shape == pairs.shape and len(edges) > 0.9 * len(held_out.edges)
    found = edge_keys(pairs, 240).tolist()
    assert len(set(found)) == len(found) and bool((pairs[:, 0] < pairs[:, 1]).all())
    assert not set(found) & (keys(multiplex.layers[0]) | keys(multiplex.layers[1]))
    assert set(pairs.flatten().tolist()) <= set(multiplex.layers[0].genes().tolist())


def test_matched_negatives_have_the_degrees_of_the_edges_and_random_ones_do_not(multiplex: Multiplex) -> None:
    held_out = hold_out(multiplex, 0, 0.3, "all layers", drawn())
    degree = torch.bincount(held_out.multiplex.layers[0].edges.flatten(), minlength=240).double()

    def mean_degrees(pairs: Tensor) -> Tensor:
        return degree[pairs].sort(dim=1).values.mean(dim=0)

    edges, matched = draw_negatives(held_out, multiplex, 0, "degree-matched", drawn())
    torch.testing.assert_close(mean_degrees(matched), mean_degrees(edges), rtol=0.06, atol=0)
    edges, plain = draw_negatives(held_out, multiplex, 0, "random", drawn())
    assert bool((mean_degrees(plain) < 0.9 * mean_degrees(edges)).all())


def ranked(positive: Scores, negative: Scores) -> tuple[np.ndarray, np.ndarray]:
    """Which scores are of edges, and all scores."""
    return np.arange(len(positive) + len(negative)) < len(positive), np.array([*positive, *negative], float)


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=12), st.lists(st.integers(0, 6), min_size=1, max_size=12)
)
def test_the_area_is_the_share_of_pairs_in_the_right_order(positive: Scores, negative: Scores) -> None:
    right = [(p > n) + 0.5 * (p == n) for p, n in product(positive, negative)]
    area = roc_area(*ranked(positive, negative))
    assert area == pytest.approx(sum(right) / len(right))


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=12), st.lists(st.integers(0, 6), min_size=1, max_size=12)
)
def test_average_precision_is_the_sum_over_thresholds(positive: Scores, negative: Scores) -> None:
    expected, recall = 0.0, 0.0
    for threshold in sorted(set(positive) | set(negative), reverse=True):
        true = sum(score >= threshold for score in positive)
        false = sum(score >= threshold for score in negative)
        expected += (true / len(positive) - recall) * true / (true + false)
        recall = true / len(positive)
    assert average_precision(*ranked(positive, negative)) == pytest.approx(expected)


def test_neighbourhood_scores_are_those_of_their_formulas(multiplex: Multiplex) -> None:
    edges = multiplex.layers[0].edges
    adjacent = torch.zeros(240, 240, dtype=torch.float64)
    adjacent[edges[:, 0], edges[:, 1]] = 1
    adjacent = adjacent + adjacent.T
    degree = adjacent.sum(dim=1)
    expected = {
        "degree product": torch.outer(degree, degree),
        "common neighbours": adjacent @ adjacent,
        "Adamic-Adar": adjacent / degree.clamp(min=2).log() @ adjacent,
        "resource allocation": adjacent / degree.clamp(min=1) @ adjacent,
    }
    pairs = torch.randint(240, (500, 2), generator=drawn())
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    scores = neighbourhood_scores(edges, 240, pairs)
    assert tuple(scores) == NEIGHBOURHOOD_SCORES
    for name in NEIGHBOURHOOD_SCORES:
        torch.testing.assert_close(scores[name], expected[name][pairs[:, 0], pairs[:, 1]])


def one(scores: tuple[LinkScore, ...], predictor: str, by: str, negatives: str) -> LinkScore:
    (found,) = (
        each for each in scores if (each.predictor, each.by, each.negatives) == (predictor, by, negatives)
    )
    return found


@pytest.fixture(scope="module")
def scores(multiplex: Multiplex) -> tuple[LinkScore, ...]:
    return link_prediction(multiplex, 0, ("union", "spectral", "random_walk"), 16)


def test_degrees_alone_find_edges_among_random_pairs_but_not_among_matched_ones(
    scores: tuple[LinkScore, ...],
) -> None:
    assert one(scores, "degree product", "layer", "random").auc > 0.6
    assert abs(one(scores, "degree product", "layer", "degree-matched").auc - 0.5) < 0.06


@pytest.mark.parametrize("method", ["union", "spectral", "random_walk"])
def test_features_find_held_out_edges_of_modules_beyond_degrees(
    scores: tuple[LinkScore, ...], method: str
) -> None:
    product_of_degrees = one(scores, "degree product", "layer", "degree-matched")
    for by in ("cosine", "dot"):
        found = one(scores, method, by, "degree-matched")
        assert found.auc > product_of_degrees.auc + 0.15
        assert found.average_precision > product_of_degrees.average_precision + 0.15
        assert found.layer == "one" and found.n_edges == product_of_degrees.n_edges


def test_features_of_a_network_without_structure_find_nothing_among_matched_pairs() -> None:
    random = Multiplex(400, (layer("random", torch.full((400, 400), 0.05), 3),))
    scores = link_prediction(random, 0, ("union", "spectral", "random_walk"), 16)
    assert all(abs(each.auc - 0.5) < 0.1 for each in scores if each.negatives == "degree-matched")


def test_copies_of_held_out_edges_in_another_network_give_them_away(multiplex: Multiplex) -> None:
    random = layer("random", torch.full((240, 240), 0.08), 5)
    doubled = Multiplex(240, (random, NetworkLayer("copy", random.edges, random.weight)))
    read, honest = (
        one(link_prediction(doubled, 0, ("union",), 60, scope=scope), "union", "dot", "degree-matched")
        for scope in ("this layer", "all layers")
    )
    assert read.auc > 0.7 and abs(honest.auc - 0.5) < 0.12


def test_a_wrong_layer_a_wrong_share_and_too_few_edges_are_refused(multiplex: Multiplex) -> None:
    with pytest.raises(ConfigError, match="layer is 2, and the layers are 0 one, 1 two"):
        link_prediction(multiplex, 2, (), 4)
    with pytest.raises(ConfigError, match="share is 1"):
        link_prediction(multiplex, 0, (), 4, share=1.0)
    with pytest.raises(ConfigError, match="20 are the least"):
        link_prediction(multiplex, 0, (), 4, share=0.002)
