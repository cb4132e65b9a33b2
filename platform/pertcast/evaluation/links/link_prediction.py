"""The judge of integration methods: whether features tell edges that they were not made from.

Held-out edges of one network are ranked among pairs without an edge, by the features and by what a pair's
neighbours alone tell (docs/gene_features.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import torch
from pertcast_data.errors import ConfigError
from torch import Tensor

from pertcast.evaluation.links.held_out_edges import (
    HeldOut,
    Negatives,
    Scope,
    draw_negatives,
    hold_out,
)
from pertcast.evaluation.links.neighbourhood_scores import neighbourhood_scores
from pertcast.evaluation.metrics.gene_lists import average_precision, roc_area
from pertcast.models.multiplex_network.integration.config import IntegrationConfig, IntegrationMethod
from pertcast.models.multiplex_network.integration.integrate import integrate
from pertcast.models.multiplex_network.integration.integrated import Progress, no_progress
from pertcast.models.multiplex_network.integration.multiplex import Multiplex
from pertcast.models.multiplex_network.integration.union import joined_layer

By = Literal["cosine", "dot", "layer", "union"]
"""What a predictor compares: directions or products of features; neighbours in the layer or in all."""

_LEAST_EDGES: Final = 20


@dataclass(frozen=True, slots=True)
class LinkScore:
    """How well one predictor tells held-out edges of one network from pairs without an edge.

    Attributes
    ----------
    layer
        Name of the network.
    predictor
        An integration method, or one of `NEIGHBOURHOOD_SCORES`.
    by
        What it compares.
    scope
        Where the edges were held out.
    negatives
        How pairs without an edge were drawn; as many as edges.
    auc
        Chance that an edge scores above a pair without; .5 knows nothing.
    average_precision
        Area under precision over recall; .5 knows nothing.
    n_edges
        Edges ranked.
    seconds
        The integration took; 0 for scores of neighbours.
    """

    layer: str
    predictor: str
    by: By
    scope: Scope
    negatives: Negatives
    auc: float
    average_precision: float
    n_edges: int
    seconds: float


def link_prediction(
    multiplex: Multiplex,
    layer: int,
    methods: Sequence[IntegrationMethod],
    components: int,
    config: IntegrationConfig | None = None,
    *,
    share: float = 0.1,
    scope: Scope = "all layers",
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress = no_progress,
) -> tuple[LinkScore, ...]:
    """Hold out edges of a layer, integrate what is left by each method, and rank them among negatives.

    Parameters
    ----------
    multiplex
        N genes and their networks.
    layer
        Which network's edges are held out.
    methods
        Methods to judge.
    components
        Features of a gene.
    config
        Settings of the methods; its `method` does not count.
    share
        Share of the layer's edges to hold out.
    scope
        "all layers" removes a held-out edge wherever it is listed; "this layer" leaves copies in others,
        which a method may then simply read.
    seed
        Of the draw of edges and negatives; the same edges for both scopes.
    device
        Where methods compute.
    progress
        Called after each method.

    Returns
    -------
    tuple
        One score for each predictor, way of comparison and kind of negatives.

    Raises
    ------
    ConfigError
        There is no such layer, the share is not between 0 and 1, or fewer than 20 edges can be held out or
        matched with negatives.
    """
    _check(multiplex, layer, share)
    generator = torch.Generator().manual_seed(seed)
    held_out = hold_out(multiplex, layer, share, scope, generator)
    trials = [
        _Trial(
            multiplex.layers[layer].name,
            scope,
            kind,
            *draw_negatives(held_out, multiplex, layer, kind, generator),
        )
        for kind in get_args(Negatives)
    ]
    for trial in trials:
        _enough(trial)
    scores = [score for trial in trials for score in _by_neighbours(trial, held_out, layer)]
    settings = config or IntegrationConfig()
    for done, method in enumerate(methods, start=1):
        chosen = settings.model_copy(update={"method": method})
        result = integrate(held_out.multiplex, components, chosen, device=device)
        seconds = result.facts.get("seconds", 0.0)
        scores += [
            score for trial in trials for score in _by_features(trial, method, result.features.cpu(), seconds)
        ]
        progress(done, len(methods), method)
    return tuple(scores)


@dataclass(frozen=True, slots=True)
class _Trial:
    """Edges and pairs without one, to be told apart."""

    layer: str
    scope: Scope
    negatives: Negatives
    edges: Tensor
    pairs: Tensor

    def judged(self, predictor: str, by: By, scores: Tensor, seconds: float = 0.0) -> LinkScore:
        values = scores.double().cpu().numpy()
        is_edge = np.arange(len(values)) < len(self.edges)
        return LinkScore(
            layer=self.layer,
            predictor=predictor,
            by=by,
            scope=self.scope,
            negatives=self.negatives,
            auc=roc_area(is_edge, values),
            average_precision=average_precision(is_edge, values),
            n_edges=len(self.edges),
            seconds=seconds,
        )

    def both(self) -> Tensor:
        return torch.cat((self.edges, self.pairs))


def _by_neighbours(trial: _Trial, held_out: HeldOut, layer: int) -> Iterator[LinkScore]:
    left = held_out.multiplex
    networks: tuple[tuple[By, Tensor], ...] = (
        ("layer", left.layers[layer].edges),
        ("union", joined_layer(left).edges),
    )
    for by, edges in networks:
        for name, scores in neighbourhood_scores(edges, left.n_genes, trial.both()).items():
            yield trial.judged(name, by, scores)


def _by_features(trial: _Trial, method: str, features: Tensor, seconds: float) -> Iterator[LinkScore]:
    first, second = features.double()[trial.both()].unbind(1)
    dot = (first * second).sum(dim=1)
    lengths = first.norm(dim=1) * second.norm(dim=1)
    yield trial.judged(method, "cosine", dot / lengths.clamp(min=1e-12), seconds)
    yield trial.judged(method, "dot", dot, seconds)


def _check(multiplex: Multiplex, layer: int, share: float) -> None:
    if not 0 <= layer < len(multiplex.layers):
        names = ", ".join(f"{place} {each.name}" for place, each in enumerate(multiplex.layers))
        raise ConfigError(f"layer is {layer}, and the layers are {names}.")
    if not 0 < share < 1:
        raise ConfigError(f"share is {share:g}; hold out a share between 0 and 1, such as 0.1.")


def _enough(trial: _Trial) -> None:
    if len(trial.edges) < _LEAST_EDGES:
        raise ConfigError(
            f"{trial.layer}: {len(trial.edges)} edges can be held out and matched with {trial.negatives} "
            f"pairs; {_LEAST_EDGES} are the least. Raise the share, or judge on a larger network."
        )
