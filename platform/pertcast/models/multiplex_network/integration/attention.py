"""Networks integrated by graph attention: encoders trained to rebuild all of them from one vector a gene.

After BIONIC (Forster et al. 2022, Nature Methods 19:1250) in its aim; batches, sampling, targets and the
input differ and are described where they are made.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from pertcast_data.errors import ConfigError
from torch import Tensor

from pertcast.models.multiplex_network.integration.config import AttentionConfig, IntegrationConfig
from pertcast.models.multiplex_network.integration.integrated import (
    Integrated,
    Progress,
    no_progress,
    unit_mean_square,
)
from pertcast.models.multiplex_network.integration.multiplex import Multiplex
from pertcast.models.multiplex_network.integration.multiplex_encoder import MultiplexEncoder, starting_table
from pertcast.models.multiplex_network.integration.neighbour_sampling import Neighbourhoods
from pertcast.models.multiplex_network.integration.reconstruction import (
    RebuiltNetwork,
    batches,
    reconstruction_loss,
)

GENES_AT_ONCE: Final = 2048
"""Genes whose neighbours are held at a time when the final features are computed."""
_SMOOTHING: Final = 0.7
_LEAST_GAIN: Final = 1e-3


def integrate_by_attention(
    multiplex: Multiplex,
    components: int,
    config: IntegrationConfig,
    *,
    device: torch.device,
    progress: Progress = no_progress,
) -> Integrated:
    """Return features whose products rebuild every network on the genes that it knows.

    Parameters
    ----------
    multiplex
        N genes and their networks; networks without an edge are left out.
    components
        D, the width of the features.
    config
        Its seed and its `attention`.
    device
        Where to compute.
    progress
        Called after every epoch with the epochs done, the most there can be, and the loss.

    Returns
    -------
    Integrated
        (N, D) float32, from all neighbours of every gene; equal at every call on the CPU. Facts: "epochs",
        "loss" (mean of the last epoch), "edges_per_second" (edges that attention layers read in training),
        "seconds", and "weight <network>" of each.

    Raises
    ------
    ConfigError
        Where the loss stops being a number.
    """
    started = time.perf_counter()
    layers = [layer for layer in multiplex.layers if len(layer.edges)]
    if not layers:
        return Integrated(torch.zeros(multiplex.n_genes, components, device=device), {"epochs": 0.0})
    networks = [Neighbourhoods.of(layer, multiplex.n_genes, device) for layer in layers]
    table = starting_table(multiplex, device)
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(config.seed)
        model = MultiplexEncoder(table, len(networks), components, config.attention).to(device)
    outcome = _train(model, networks, config, progress)
    features = unit_mean_square(model.encode(networks, GENES_AT_ONCE))
    weights = model.network_weights().tolist()
    facts = {
        "epochs": float(outcome.epochs),
        "loss": outcome.loss,
        "edges_per_second": outcome.edges_per_second,
        "seconds": time.perf_counter() - started,
        **{f"weight {layer.name}": weight for layer, weight in zip(layers, weights, strict=True)},
    }
    return Integrated(features, facts)


@dataclass(frozen=True, slots=True)
class _Outcome:
    epochs: int
    loss: float
    edges_per_second: float


class _Patience:
    """Says when the smoothed loss has stopped falling."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.smoothed: float | None = None
        self.best = float("inf")
        self.waited = 0

    def is_over(self, loss: float) -> bool:
        """Take the loss of an epoch in; return whether none of the last epochs brought a gain."""
        before = loss if self.smoothed is None else self.smoothed
        self.smoothed = _SMOOTHING * before + (1 - _SMOOTHING) * loss
        if self.smoothed < self.best * (1 - _LEAST_GAIN):
            self.best, self.waited = self.smoothed, 0
        else:
            self.waited += 1
        return self.waited >= self.epochs


def _train(
    model: MultiplexEncoder, networks: Sequence[Neighbourhoods], config: IntegrationConfig, progress: Progress
) -> _Outcome:
    settings = config.attention
    generator = torch.Generator().manual_seed(config.seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.lr)
    rebuilt = [RebuiltNetwork.of(network) for network in networks]
    patience = _Patience(settings.patience)
    first = next(batches(networks, settings.batch_size, generator))
    model.rescale(_features_of(model, networks, first, settings, generator)[0])
    started, edges_read = time.perf_counter(), 0
    for epoch in range(1, settings.epochs + 1):
        losses = []
        for genes in batches(networks, settings.batch_size, generator):
            features, read = _features_of(model, networks, genes, settings, generator)
            loss = reconstruction_loss(features, genes, rebuilt)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            losses.append(loss.detach())
            edges_read += read
        mean = float(torch.stack(losses).mean())
        if mean != mean or mean == float("inf"):
            raise ConfigError(
                f"The loss of graph attention is {mean} in epoch {epoch}: lower attention.lr "
                f"({settings.lr:g}) of the network integration."
            )
        progress(epoch, settings.epochs, f"loss {mean:.4f}")
        if patience.is_over(mean):
            break
    return _Outcome(epoch, mean, edges_read / (time.perf_counter() - started))


def _features_of(
    model: MultiplexEncoder,
    networks: Sequence[Neighbourhoods],
    genes: Tensor,
    settings: AttentionConfig,
    generator: torch.Generator,
) -> tuple[Tensor, int]:
    """Return (B, D) features of a batch from sampled neighbours, and the number of edges read."""
    known = torch.stack([network.degree()[genes] > 0 for network in networks])
    blocks = [
        network.blocks(genes[knows], settings.layers, settings.neighbours, generator)
        for network, knows in zip(networks, known, strict=True)
    ]
    features: Tensor = model(known, blocks)
    return features, sum(len(block.source) for network in blocks for block in network)
