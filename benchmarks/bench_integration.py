"""Integration of networks: seconds an epoch, edges a second, peak memory; the same layer in dense algebra.

A multiplex of power-law degrees and shared communities is generated; every contestant runs in a process of
its own on one core. An epoch of graph attention is extrapolated from `--batches` batches. "dense" holds
(genes x genes) attention and adjacency, at a size where that fits; its output is compared too. Usage:
`python benchmarks/bench_integration.py [--genes 27000 --networks 7 --edges 3000000] [--methods union]`
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import get_args

import torch
from pertcast.models.multiplex_network.integration.attention import GENES_AT_ONCE
from pertcast.models.multiplex_network.integration.config import (
    AttentionConfig,
    IntegrationConfig,
    IntegrationMethod,
)
from pertcast.models.multiplex_network.integration.graph_encoder import GraphEncoder, WeightedAttention
from pertcast.models.multiplex_network.integration.integrate import integrate
from pertcast.models.multiplex_network.integration.multiplex import Multiplex, NetworkLayer
from pertcast.models.multiplex_network.integration.multiplex_encoder import MultiplexEncoder, starting_table
from pertcast.models.multiplex_network.integration.neighbour_sampling import Neighbourhoods
from pertcast.models.multiplex_network.integration.reconstruction import (
    RebuiltNetwork,
    batches,
    reconstruction_loss,
)
from torch import Tensor
from torch.nn import functional

CPU = torch.device("cpu")
COMMUNITY = 60
WITHIN = 0.7


def generate(n_genes: int, n_networks: int, n_edges: int) -> Multiplex:
    """Return networks of about `n_edges` edges together; a network knows 70 % of the genes."""
    generator = torch.Generator().manual_seed(0)
    layers = [
        one_network(f"network {number}", n_genes, n_edges // n_networks, generator)
        for number in range(n_networks)
    ]
    seen = torch.unique(torch.cat([layer.edges.flatten() for layer in layers]))
    place = torch.empty(n_genes, dtype=torch.int64)
    place[seen] = torch.arange(len(seen))
    return Multiplex(
        len(seen), tuple(NetworkLayer(layer.name, place[layer.edges], layer.weight) for layer in layers)
    )


def one_network(name: str, n_genes: int, n_edges: int, generator: torch.Generator) -> NetworkLayer:
    """Return edges whose ends are drawn by power-law popularity, most of them within a community."""
    popularity = torch.rand(n_genes, generator=generator, dtype=torch.float64).clamp(min=1e-4) ** -0.5
    popularity *= torch.rand(n_genes, generator=generator) < 0.7
    reach = torch.cat((torch.zeros(1, dtype=torch.float64), popularity.cumsum(0)))
    keys = torch.empty(0, dtype=torch.int64)
    for _ in range(8):
        drawn = 2 * (n_edges - len(keys))
        uniform = torch.rand(3, drawn, generator=generator, dtype=torch.float64)
        first = torch.searchsorted(reach, uniform[0] * reach[-1], right=True) - 1
        # Communities are runs of genes, the same ones in every network.
        start = first // COMMUNITY * COMMUNITY
        end = (start + COMMUNITY).clamp(max=n_genes)
        inside = uniform[2] < WITHIN
        low = torch.where(inside, reach[start], 0.0)
        high = torch.where(inside, reach[end], reach[-1])
        second = torch.searchsorted(reach, low + uniform[1] * (high - low), right=True) - 1
        key = torch.minimum(first, second) * n_genes + torch.maximum(first, second)
        keys = torch.unique(torch.cat((keys, key[first != second])))
        if len(keys) >= n_edges:
            break
    keys = keys[torch.randperm(len(keys), generator=generator)[:n_edges]].sort().values
    weight = 0.1 + 0.9 * torch.rand(len(keys), generator=generator)
    return NetworkLayer(name, torch.stack((keys // n_genes, keys % n_genes), 1), weight)


def memory() -> float:
    """Return the peak resident memory of this process in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


class Setting:
    """A multiplex with its encoder, before training."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.multiplex = generate(options.genes, options.networks, options.edges)
        self.config = AttentionConfig(**json.loads(options.attention))
        self.networks = [
            Neighbourhoods.of(layer, self.multiplex.n_genes, CPU) for layer in self.multiplex.layers
        ]
        self.rebuilt = [RebuiltNetwork.of(network) for network in self.networks]
        started = time.perf_counter()
        self.table = starting_table(self.multiplex, CPU)
        self.start_seconds = time.perf_counter() - started
        torch.random.manual_seed(0)
        self.model = MultiplexEncoder(self.table, len(self.networks), options.components, self.config)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=self.config.lr)
        self.n_batches = -(-self.multiplex.n_genes // (self.config.batch_size // 2))

    def step(self, genes: Tensor, features: Tensor) -> None:
        """Take one step of Adam on the features of a batch."""
        loss = reconstruction_loss(features, genes, self.rebuilt)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()

    def seconds_an_epoch(self, features_of: Callable[[Tensor], Tensor], limit: int) -> float:
        """Return seconds of processor time, extrapolated from `limit` batches after one unmeasured."""
        generator = torch.Generator().manual_seed(0)
        started, done = time.process_time(), -1
        for genes in batches(self.networks, self.config.batch_size, generator):
            self.step(genes, features_of(genes))
            done += 1
            if done == 0:
                started = time.process_time()
            if done == limit:
                break
        return (time.process_time() - started) / max(done, 1) * self.n_batches


def attention(options: argparse.Namespace) -> dict[str, float]:
    """Return figures of training by sampled neighbours and of the final features."""
    setting = Setting(options)
    generator = torch.Generator().manual_seed(0)
    read = []

    def features_of(genes: Tensor) -> Tensor:
        known = torch.stack([network.degree()[genes] > 0 for network in setting.networks])
        blocks = [
            network.blocks(genes[knows], setting.config.layers, setting.config.neighbours, generator)
            for network, knows in zip(setting.networks, known, strict=True)
        ]
        read.append(sum(len(block.source) for each in blocks for block in each))
        features: Tensor = setting.model(known, blocks)
        return features

    epoch = setting.seconds_an_epoch(features_of, options.batches)
    started = time.process_time()
    setting.model.encode(setting.networks, GENES_AT_ONCE)
    final = time.process_time() - started
    entries = 2 * setting.multiplex.n_edges * setting.config.layers
    return {
        "genes": setting.multiplex.n_genes,
        "edges": setting.multiplex.n_edges,
        "start_s": setting.start_seconds,
        "epoch_s": epoch,
        "train_edges_per_s": sum(read[1:]) / len(read[1:]) * setting.n_batches / epoch,
        "final_s": final,
        "final_edges_per_s": entries / final,
        "peak_GB": memory(),
    }


def dense_layer(layer: WeightedAttention, inputs: Tensor, bias: Tensor) -> Tensor:
    """Return the layer's output from the (N, N) logarithms of weights, -inf where there is no edge."""
    by_head = layer.project(inputs).unflatten(1, (layer.heads, -1)).transpose(0, 1)
    target = (by_head * layer.target_score[:, None]).sum(2)
    source = (by_head * layer.source_score[:, None]).sum(2)
    score = functional.leaky_relu(target[:, :, None] + source[:, None], 0.2)
    gathered = (score + layer.weight_exponent[:, None, None] * bias).softmax(2) @ by_head
    return functional.elu(gathered.transpose(0, 1).flatten(1) + layer.skip(inputs))


class Dense:
    """The encoder of a setting in plain dense algebra."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.known = torch.stack([network.degree() > 0 for network in setting.networks])
        self.bias = []
        for network in setting.networks:
            # A large negative number for no edge: -inf has no gradient to the exponent.
            bias = torch.full((network.n_genes,) * 2, -1e4)
            bias[torch.repeat_interleave(network.degree()), network.neighbour] = network.weight.log()
            self.bias.append(bias.fill_diagonal_(0.0) + torch.diag(network.own_weight.log()))

    def features(self) -> Tensor:
        """Return (N, D) of all genes."""
        model = self.setting.model
        weight = model.network_weights()[:, None] * self.known
        share = weight / weight.sum(0)
        total = torch.zeros(())
        for encoder, bias, part in zip(model.encoders, self.bias, share, strict=True):
            assert isinstance(encoder, GraphEncoder)
            hidden: Tensor = model.table
            for layer in encoder.layers:
                assert isinstance(layer, WeightedAttention)
                hidden = dense_layer(layer, hidden, bias)
            total = total + hidden * part[:, None]
        mixed: Tensor = model.mix(total)
        return mixed


def dense(options: argparse.Namespace) -> dict[str, float]:
    """Return figures of dense algebra: epochs of as many updates and of one, and how far outputs differ."""
    setting = Setting(options)
    contestant = Dense(setting)
    with torch.no_grad():
        apart = contestant.features() - setting.model.encode(setting.networks, GENES_AT_ONCE)
    every = torch.arange(setting.multiplex.n_genes)
    same_updates = setting.seconds_an_epoch(
        lambda genes: contestant.features()[genes], min(options.batches, 3)
    )
    started = time.process_time()
    setting.step(every, contestant.features())
    return {
        "genes": setting.multiplex.n_genes,
        "edges": setting.multiplex.n_edges,
        "epoch_s": same_updates,
        "one_update_epoch_s": time.process_time() - started,
        "apart_from_encode": float(apart.abs().max()),
        "peak_GB": memory(),
    }


def closed_form(options: argparse.Namespace) -> dict[str, float]:
    """Return seconds and memory of a closed-form method."""
    multiplex = generate(options.genes, options.networks, options.edges)
    started = time.process_time()
    integrate(multiplex, options.components, IntegrationConfig(method=options.method))
    seconds = time.process_time() - started
    return {
        "genes": multiplex.n_genes,
        "edges": multiplex.n_edges,
        "all_s": seconds,
        "edges_per_s": multiplex.n_edges / seconds,
        "peak_GB": memory(),
    }


CONTESTANTS = {"attention": attention, "dense": dense, "closed_form": closed_form}


def run(options: argparse.Namespace, contestant: str, **changed: object) -> dict[str, float]:
    """Return a contestant's figures from a process of its own, and print them."""
    given = {**vars(options), **changed, "contestant": contestant}
    del given["methods"], given["dense_genes"]
    words = [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value is not None]
    done = subprocess.run([sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(done.stdout)
    name = given["method"] or contestant
    print(f"{name:12}", "  ".join(f"{key} {value:,.4g}" for key, value in figures.items()), flush=True)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--genes", type=int, default=27_000)
    parser.add_argument("--networks", type=int, default=7)
    parser.add_argument("--edges", type=int, default=3_000_000, help="of all networks together")
    parser.add_argument("--components", type=int, default=512)
    parser.add_argument("--batches", type=int, default=6, help="that are measured")
    parser.add_argument("--dense-genes", type=int, default=3_000, help="0 leaves dense algebra out")
    parser.add_argument("--attention", default="{}", help="attention settings as JSON")
    parser.add_argument(
        "--methods", nargs="*", choices=get_args(IntegrationMethod), default=get_args(IntegrationMethod)
    )
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--method", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.contestant:
        print(json.dumps(CONTESTANTS[options.contestant](options)))
        return
    for method in options.methods:
        if method == "attention":
            run(options, "attention")
        else:
            run(options, "closed_form", method=method)
    if options.dense_genes:
        share = options.dense_genes / options.genes
        small = {"genes": options.dense_genes, "networks": 3, "edges": int(options.edges * share * 3 / 7)}
        ours, theirs = run(options, "attention", **small), run(options, "dense", **small)
        print(
            f"dense / sampled: {theirs['epoch_s'] / ours['epoch_s']:.1f} x time an epoch of as many updates, "
            f"{theirs['peak_GB'] / ours['peak_GB']:.1f} x peak memory; "
            f"outputs apart {theirs['apart_from_encode']:.1e}"
        )


if __name__ == "__main__":
    main()
