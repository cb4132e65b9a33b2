"""Walks with restart in every network, and the common axes of where they end more often than by chance."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from pertcast.models.multiplex_network.integration.adjacency import (
    adjacency,
    degrees,
    regularised_walk,
    scaled_rows_and_columns,
)
from pertcast.models.multiplex_network.integration.config import IntegrationConfig
from pertcast.models.multiplex_network.integration.eigen import leading_eigenpairs
from pertcast.models.multiplex_network.integration.integrated import (
    Integrated,
    Progress,
    no_progress,
    unit_mean_square,
)
from pertcast.models.multiplex_network.integration.multiplex import Multiplex
from pertcast.models.multiplex_network.integration.own_genes import OwnNetwork, known_by, own_network
from pertcast.models.multiplex_network.integration.union import walk_kernel

PARTNERS: Final = 256
"""Pairs of a network kept for each of its genes, on average: bounds the memory."""

_AXES: Final = 192
"""Eigenvectors that stand for all steps of a walk after the first."""
_BLOCK: Final = 512
_TOLERANCE: Final = 1e-4
_NOTHING: Final = 1e-9


def integrate_by_random_walk(
    multiplex: Multiplex,
    components: int,
    config: IntegrationConfig,
    *,
    device: torch.device,
    progress: Progress = no_progress,
) -> Integrated:
    """Return the leading axes of the networks' logarithmic walk similarity.

    In each network, P_ij is the chance that a walk from gene i with restart r is at j, and P_ij vol / d_j how
    often it is there in units of chance. The logarithm is the similarity, as in NetMF (Qiu et al. 2018, WSDM)
    and Mashup (Cho et al. 2016, Cell Systems 3:540), but summed by eigenvectors and never as a dense N x N
    matrix: see `walk_similarity`. Networks are scaled alike, and a pair's similarity is the mean over the
    networks that know both genes. Features are the leading eigenvectors of the mean, times the roots of their
    positive eigenvalues.

    Parameters
    ----------
    multiplex
        N genes and their networks.
    components
        D; fewer where the similarity has fewer positive axes.
    config
        Its restart.
    device
        Where to compute.
    progress
        Called after each network and at the end.
    """
    started = time.perf_counter()
    filled = [layer for layer in multiplex.layers if len(layer.edges)]
    keys, values = [], []
    for done, layer in enumerate(filled, start=1):
        network = own_network(layer, device)
        pairs, similarity = walk_similarity(network, config.restart)
        keys.append(network.genes[pairs] @ torch.tensor([multiplex.n_genes, 1], device=device))
        values.append(similarity / (2 * similarity.square().sum() / len(network.genes)).sqrt())
        progress(done, len(filled) + 1, layer.name)
    features = _axes(_mean_similarity(multiplex, keys, values, device), multiplex.n_genes, components)
    progress(len(filled) + 1, len(filled) + 1, f"{features.shape[1]} components")
    facts = {"pairs": float(sum(map(len, values))), "seconds": time.perf_counter() - started}
    return Integrated(unit_mean_square(features), facts)


def walk_similarity(network: OwnNetwork, restart: float) -> tuple[Tensor, Tensor]:
    """Return pairs of genes that walks join more than chance does, and how much.

    With S the regularised walk (`regularised_walk`), the kernel is K = r sum_k (1 - r)^k S^k and the pair's
    odds O_ij = vol K_ij / sqrt((d_i + t)(d_j + t)). The first step is taken exactly; the later ones through
    the 192 leading eigenvectors. Pairs with odds above b are kept, and all edges, with log(1 + O_ij / b);
    b is 1, or larger where more than 256 pairs a gene would be kept.

    Parameters
    ----------
    network
        N_l genes.
    restart
        Chance to return at a step.

    Returns
    -------
    tuple
        (M, 2) int64 rows of the network, first < second, sorted; (M,) float64.
    """
    odds = _Odds(network, restart)
    n_genes = len(network.genes)
    stride = -(-n_genes // _BLOCK)
    sample = odds.of(torch.arange(0, n_genes, stride, device=network.genes.device))[0].flatten()
    kept = max(1, int(len(sample) * min(1.0, PARTNERS / n_genes)))
    bar = max(1.0, float(sample.topk(kept).values[-1]))
    found = [_kept(*odds.of(rows), rows, bar) for rows in _blocks(n_genes, network.genes.device)]
    return torch.cat([pairs for pairs, _ in found]), torch.cat([value for _, value in found])


def _blocks(n_genes: int, device: torch.device) -> Iterator[Tensor]:
    for start in range(0, n_genes, _BLOCK):
        yield torch.arange(start, min(start + _BLOCK, n_genes), device=device)


def _kept(odds: Tensor, is_edge: Tensor, rows: Tensor, bar: float) -> tuple[Tensor, Tensor]:
    later = torch.arange(odds.shape[1], device=odds.device) > rows[:, None]
    row, column = (((odds > bar) | is_edge) & later).nonzero(as_tuple=True)
    return torch.stack((rows[row], column), dim=1), (odds[row, column].double() / bar).log1p()


class _Odds:
    """How much more often than by chance a walk from one gene is at another; some rows at a time, float32."""

    def __init__(self, network: OwnNetwork, restart: float) -> None:
        n_genes, device = len(network.genes), network.genes.device
        degree = degrees(network.matrix)
        tie = degree.mean()
        degree = degree + tie
        pairs = leading_eigenpairs(
            regularised_walk(network.matrix),
            n_genes,
            min(_AXES, n_genes),
            device=device,
            tolerance=_TOLERANCE,
        )
        self.first_step = restart * (1 - restart)
        later = walk_kernel(pairs.values, restart) - restart - self.first_step * pairs.values
        # Both ends divided by sqrt(d + t) and multiplied by sqrt(vol).
        scale = (degree.sum() / degree).sqrt()
        step = scaled_rows_and_columns(network.matrix, degree.rsqrt() * scale)
        # The tie between all genes is part of the first step, and of rank one.
        axes = torch.cat((pairs.vectors, degree.rsqrt()[:, None]), dim=1) * scale[:, None]
        weight = torch.cat((later, (self.first_step * tie / n_genes).reshape(1)))
        self.axes, self.weighted = axes.float(), (axes * weight).float()
        self.starts, self.columns, self.steps = step.crow_indices(), step.col_indices(), step.values().float()

    def of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return (R, N_l) odds, 0 for a gene with itself, and whether the pair is an edge."""
        odds = self.weighted[rows] @ self.axes.T
        counts = self.starts[rows + 1] - self.starts[rows]
        place = torch.repeat_interleave(torch.arange(len(rows), device=rows.device), counts)
        within = torch.arange(len(place), device=rows.device) - (counts.cumsum(0) - counts)[place]
        entry = self.starts[rows][place] + within
        is_edge = torch.zeros_like(odds, dtype=torch.bool)
        is_edge[place, self.columns[entry]] = True
        odds[place, self.columns[entry]] += self.first_step * self.steps[entry]
        odds[torch.arange(len(rows), device=rows.device), rows] = 0
        return odds.clamp_(min=0), is_edge


def _mean_similarity(
    multiplex: Multiplex, keys: list[Tensor], values: list[Tensor], device: torch.device
) -> Tensor:
    """Return the (N, N) CSR mean of similarities over the networks that know both genes."""
    nothing = torch.zeros(0, dtype=torch.int64, device=device)
    key, order = torch.cat([nothing, *keys]).sort(stable=True)
    distinct, place = torch.unique_consecutive(key, return_inverse=True)
    total = torch.zeros(len(distinct), dtype=torch.float64, device=device)
    total.index_add_(0, place, torch.cat([nothing.double(), *values])[order])
    pairs = torch.stack((distinct // multiplex.n_genes, distinct % multiplex.n_genes), dim=1)
    known = known_by(multiplex, device)
    both = (known[pairs[:, 0]] & known[pairs[:, 1]]).sum(dim=1)
    return adjacency(pairs, total / both, multiplex.n_genes, device)


def _axes(similarity: Tensor, n_genes: int, components: int) -> Tensor:
    count = min(components, n_genes)
    if count < 1 or not len(similarity.values()):
        return torch.zeros(n_genes, 0, dtype=torch.float64, device=similarity.device)
    pairs = leading_eigenpairs(
        lambda block: similarity @ block, n_genes, count, device=similarity.device, tolerance=_TOLERANCE
    )
    real = pairs.values > _NOTHING * pairs.values[0]
    return pairs.vectors[:, real] * pairs.values[real].sqrt()
