"""Integration by graph attention: the layer's formula, masks, exact final features, what it recovers."""

from __future__ import annotations

import pytest
import torch
from pertcast.models.multiplex_network.integration.attention import integrate_by_attention
from pertcast.models.multiplex_network.integration.config import AttentionConfig, IntegrationConfig
from pertcast.models.multiplex_network.integration.graph_encoder import GraphEncoder, WeightedAttention
from pertcast.models.multiplex_network.integration.integrated import Integrated
from pertcast.models.multiplex_network.integration.multiplex import Multiplex, NetworkLayer
from pertcast.models.multiplex_network.integration.multiplex_encoder import MultiplexEncoder, starting_table
from pertcast.models.multiplex_network.integration.neighbour_sampling import Neighbourhoods
from pertcast.models.multiplex_network.integration.reconstruction import EDGE_SHARE, RebuiltNetwork
from pertcast_data.errors import ConfigError
from torch import Tensor, nn

CPU = torch.device("cpu")
SMALL = AttentionConfig(heads=2, head_width=8, batch_size=64, epochs=12, neighbours=5, layers=2, lr=3e-3)


def community_layer(name: str, genes: Tensor, seed: int, within: float, between: float) -> NetworkLayer:
    """Return edges among `genes`; even and odd ones are the two communities."""
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.combinations(genes)
    same = pairs[:, 0] % 2 == pairs[:, 1] % 2
    chance = torch.where(same, within, between)
    edges = pairs[torch.rand(len(pairs), generator=generator) < chance]
    return NetworkLayer(name, edges, torch.rand(len(edges), generator=generator) + 0.5)


def planted(n_genes: int = 120) -> Multiplex:
    """Return two networks with the same two communities; each knows genes that the other does not."""
    first = community_layer("first", torch.arange(0, n_genes * 3 // 4), 0, 0.3, 0.02)
    second = community_layer("second", torch.arange(n_genes // 4, n_genes), 1, 0.3, 0.02)
    return Multiplex(n_genes, (first, second))


def integrated(multiplex: Multiplex, attention: AttentionConfig = SMALL, seed: int = 0) -> Integrated:
    config = IntegrationConfig(method="attention", attention=attention, seed=seed)
    return integrate_by_attention(multiplex, 16, config, device=CPU)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def encoder(layers: int = 2) -> GraphEncoder:
    with torch.random.fork_rng():
        torch.random.manual_seed(0)
        return GraphEncoder(6, heads=2, head_width=4, layers=layers).double()


def dense_attention(layer: WeightedAttention, inputs: Tensor, weights: Tensor) -> Tensor:
    """Return the layer over all genes from the (N, N) matrix of weights, self loops on its diagonal."""
    by_head = layer.project(inputs).unflatten(1, (layer.heads, -1)).transpose(0, 1)
    source = (by_head * layer.source_score[:, None]).sum(2)
    target = (by_head * layer.target_score[:, None]).sum(2)
    score = nn.functional.leaky_relu(target[:, :, None] + source[:, None], 0.2)
    attention = (score + layer.weight_exponent[:, None, None] * weights.clamp(min=1e-300).log()).softmax(2)
    gathered = (attention @ by_head).transpose(0, 1).flatten(1)
    return nn.functional.elu(gathered + layer.skip(inputs))


def with_loops(network: Neighbourhoods) -> Tensor:
    weights = torch.diag(network.own_weight).double()
    row = torch.repeat_interleave(network.degree())
    weights[row, network.neighbour] = network.weight.double()
    return weights


def network_and_inputs() -> tuple[Neighbourhoods, Tensor]:
    layer = community_layer("one", torch.arange(30), 0, 0.3, 0.05)
    inputs = torch.randn(32, 6, generator=seeded(), dtype=torch.float64)
    return Neighbourhoods.of(layer, 32, CPU), inputs


def test_a_layer_is_its_formula_over_the_dense_matrix() -> None:
    network, inputs = network_and_inputs()
    layer = encoder(1).layers[0]
    assert isinstance(layer, WeightedAttention)
    block = network.all_of(torch.arange(32))
    expected = dense_attention(layer, inputs, with_loops(network))
    torch.testing.assert_close(layer(inputs, block), expected)


def test_gradients_are_those_of_the_dense_formula() -> None:
    network, inputs = network_and_inputs()
    layer = encoder(1).layers[0]
    assert isinstance(layer, WeightedAttention)
    block = network.all_of(torch.arange(32))
    pull = torch.randn(32, 8, generator=seeded(1), dtype=torch.float64)
    inputs.requires_grad_()
    wanted = [inputs, *layer.parameters()]
    ours = torch.autograd.grad((layer(inputs, block) * pull).sum(), wanted)
    dense = torch.autograd.grad((dense_attention(layer, inputs, with_loops(network)) * pull).sum(), wanted)
    for mine, reference in zip(ours, dense, strict=True):
        torch.testing.assert_close(mine, reference)


def test_sampling_all_neighbours_is_the_whole_graph_at_once() -> None:
    network, inputs = network_and_inputs()
    model = encoder(3)
    genes = torch.tensor([4, 29, 11, 31])
    blocks = network.blocks(genes, 3, 100, seeded())
    sampled = model(inputs[blocks[0].sources], blocks)
    hidden = inputs
    for layer in model.layers:
        assert isinstance(layer, WeightedAttention)
        hidden = dense_attention(layer, hidden, with_loops(network))
    torch.testing.assert_close(sampled, hidden[genes])
    torch.testing.assert_close(model.encode(inputs, network, 7), hidden)


def test_relabelled_genes_get_the_same_vectors() -> None:
    network, inputs = network_and_inputs()
    layer = community_layer("one", torch.arange(30), 0, 0.3, 0.05)
    renamed = torch.randperm(32, generator=seeded(4))
    edges = renamed[layer.edges].sort(1).values
    other = Neighbourhoods.of(NetworkLayer("renamed", edges, layer.weight), 32, CPU)
    moved = torch.empty_like(inputs)
    moved[renamed] = inputs
    model = encoder()
    expected = model.encode(inputs, network, 32)
    torch.testing.assert_close(model.encode(moved, other, 32)[renamed], expected)


def test_an_isolated_gene_keeps_a_vector_of_its_own() -> None:
    network, inputs = network_and_inputs()
    vectors = encoder().encode(inputs, network, 32)
    assert network.degree()[30:].tolist() == [0, 0]
    assert vectors[30:].isfinite().all()
    assert float((vectors[30] - vectors[31]).detach().norm()) > 0.1


def test_an_edge_of_vanishing_weight_is_no_edge() -> None:
    layer = NetworkLayer("path", torch.tensor([[0, 1], [1, 2]]), torch.tensor([1.0, 1e-30]))
    cut = NetworkLayer("cut", torch.tensor([[0, 1]]), torch.tensor([1.0]))
    inputs = torch.randn(3, 6, generator=seeded(), dtype=torch.float64)
    model = encoder(1)
    weak, none = (Neighbourhoods.of(each, 3, CPU) for each in (layer, cut))
    torch.testing.assert_close(
        model.encode(inputs, weak, 3)[0], model.encode(inputs, none, 3)[0], rtol=1e-6, atol=1e-6
    )
    torch.testing.assert_close(weak.own_weight[1], torch.tensor(0.5))


def test_the_whole_multiplex_from_all_neighbours_is_the_batch_of_all_genes() -> None:
    multiplex = planted()
    networks = [Neighbourhoods.of(layer, 120, CPU) for layer in multiplex.layers]
    model = MultiplexEncoder(starting_table(multiplex, CPU), 2, 16, SMALL)
    genes = torch.arange(120)
    known = torch.stack([network.degree() > 0 for network in networks])
    blocks = [
        each.blocks(genes[knows], 2, 120, seeded()) for each, knows in zip(networks, known, strict=True)
    ]
    torch.testing.assert_close(model.encode(networks, 11), model(known, blocks))


def test_a_gene_of_one_network_hears_that_network_alone() -> None:
    multiplex = planted()
    networks = [Neighbourhoods.of(layer, 120, CPU) for layer in multiplex.layers]
    model = MultiplexEncoder(starting_table(multiplex, CPU), 2, 16, SMALL)
    before = model.encode(networks, 120)
    with torch.no_grad():
        model.network_score[1] += 3.0
        for parameter in model.encoders[1].parameters():
            parameter.mul_(1.5)
    after = model.encode(networks, 120)
    only_first = (networks[0].degree() > 0) & (networks[1].degree() == 0)
    assert int(only_first.sum()) > 20
    torch.testing.assert_close(after[only_first], before[only_first])
    assert float((after - before)[~only_first].norm(dim=1).min()) > 1e-3


def test_planted_communities_are_recovered_across_networks() -> None:
    features = integrated(planted()).features
    unit = nn.functional.normalize(features)
    cosine = unit @ unit.T
    same = torch.arange(120)[:, None] % 2 == torch.arange(120) % 2
    # Genes 0-29 and 90-119 share no network.
    far_same = cosine[:30, 90:][same[:30, 90:]].mean()
    far_other = cosine[:30, 90:][~same[:30, 90:]].mean()
    assert far_same > far_other + 0.2
    towards = torch.stack((unit[0::2].mean(0), unit[1::2].mean(0)))
    assert ((unit @ towards.T).argmax(1) == torch.arange(120) % 2).float().mean() > 0.95


def test_genes_of_one_network_are_not_shorter_than_the_others() -> None:
    length = integrated(planted()).features.norm(dim=1)
    alone = torch.cat((length[:30], length[90:])).mean()
    assert 0.6 < float(alone / length[30:90].mean()) < 1.6


def test_features_have_mean_square_length_one_and_facts_name_the_networks() -> None:
    seen: list[tuple[int, int, str]] = []
    config = IntegrationConfig(method="attention", attention=SMALL)
    multiplex = Multiplex(
        120, (*planted().layers, NetworkLayer("empty", torch.zeros(0, 2).long(), torch.zeros(0)))
    )
    result = integrate_by_attention(
        multiplex, 16, config, device=CPU, progress=lambda *step: seen.append(step)
    )
    assert result.features.shape == (120, 16)
    assert float(result.features.square().sum(1).mean()) == pytest.approx(1.0, abs=1e-5)
    weights = [result.facts["weight first"], result.facts["weight second"]]
    assert sum(weights) == pytest.approx(1.0, abs=1e-6)
    assert [step[:2] for step in seen] == [(epoch, 12) for epoch in range(1, 13)]
    assert seen[-1][2] == f"loss {result.facts['loss']:.4f}"
    assert result.facts["epochs"] == 12 and result.facts["edges_per_second"] > 0


def test_the_same_call_gives_the_same_bits_and_leaves_the_global_state_alone() -> None:
    multiplex = planted()
    torch.random.manual_seed(1)
    state = torch.random.get_rng_state()
    first = integrated(multiplex).features
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.random.manual_seed(2)
    assert torch.equal(integrated(multiplex).features, first)
    assert not torch.equal(integrated(multiplex, seed=1).features, first)


def test_the_order_of_edges_does_not_change_the_features() -> None:
    multiplex = planted()
    shuffled = []
    for layer in multiplex.layers:
        order = torch.randperm(len(layer.edges), generator=seeded(9))
        shuffled.append(NetworkLayer(layer.name, layer.edges[order], layer.weight[order]))
    few = SMALL.model_copy(update={"epochs": 3})
    torch.testing.assert_close(
        integrated(Multiplex(120, tuple(shuffled)), few).features,
        integrated(multiplex, few).features,
        rtol=1e-3,
        atol=1e-4,
    )


@pytest.mark.parametrize(("layers", "heads", "head_width"), [(1, 1, 4), (3, 10, 64)])
def test_training_starts_at_the_scale_of_its_targets(layers: int, heads: int, head_width: int) -> None:
    shape = AttentionConfig(layers=layers, heads=heads, head_width=head_width, epochs=1, lr=1e-9)
    assert 0.02 < integrated(planted(), shape).facts["loss"] < 1.5


def test_training_ends_when_the_loss_stops_falling() -> None:
    still = SMALL.model_copy(update={"lr": 1e-12, "epochs": 40, "patience": 3})
    assert integrated(planted(), still).facts["epochs"] < 20


def test_training_lowers_the_loss() -> None:
    one, forty = (
        integrated(planted(), SMALL.model_copy(update={"epochs": epochs, "lr": 1e-2})).facts["loss"]
        for epochs in (1, 40)
    )
    assert forty < 0.8 * one


def test_a_loss_that_is_no_number_names_the_learning_rate() -> None:
    with pytest.raises(ConfigError, match=r"lower attention\.lr"):
        integrated(planted(), SMALL.model_copy(update={"lr": 1e30}))


def test_edges_have_their_share_of_the_loss_and_pairs_of_unknown_genes_none() -> None:
    layer = NetworkLayer("triangle", torch.tensor([[0, 1], [0, 2], [1, 2]]), torch.full((3,), 2.0))
    network = RebuiltNetwork.of(Neighbourhoods.of(layer, 5, CPU))
    torch.testing.assert_close(network.target, torch.ones(6))
    genes = torch.arange(5)
    assert float(network.loss(torch.zeros(5, 5), genes)) == pytest.approx(EDGE_SHARE)
    exact = torch.zeros(5, 5)
    exact[:3, :3] = 1.0
    exact[3:] = exact[:, 3:] = 7.0
    assert float(network.loss(exact, genes)) == 0.0


def test_targets_ask_less_of_edges_between_hubs() -> None:
    edges = torch.tensor([[0, 1], [0, 2], [0, 3], [1, 4], [1, 5], [6, 7]])
    network = Neighbourhoods.of(NetworkLayer("hubs", edges, torch.ones(6)), 8, CPU)
    target = RebuiltNetwork.of(network).target
    row = torch.repeat_interleave(network.degree())
    between_hubs = target[(row == 0) & (network.neighbour == 1)]
    of_a_lone_pair = target[(row == 6) & (network.neighbour == 7)]
    torch.testing.assert_close(of_a_lone_pair / between_hubs, torch.tensor([3.0**0.5]))
    assert float(target.square().mean()) == pytest.approx(1.0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_features_come_back_on_the_device() -> None:
    config = IntegrationConfig(method="attention", attention=SMALL)
    result = integrate_by_attention(planted(), 16, config, device=torch.device("cuda"))
    assert result.features.is_cuda
