"""Seeded k-means of lines through the origin, in torch: the first labels of the modules.

k-means++ starts (Arthur & Vassilvitskii 2007) and Lloyd's rounds with the distance 1 - cosine squared, so
that genes which answer the same signal with opposite sign belong together.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from pertcast.models.module_flow.grouping.terms import unit_rows

_FIRST_ROUNDS: Final = 5
_MORE_ROUNDS: Final = 40


def cluster_axes(unit: Tensor, n_clusters: int, seed: int, n_starts: int = 10) -> Tensor:
    """Return (N,) int64 labels of the clusters whose axes their members lie closest to.

    The start that leads after five rounds is carried on until no label changes. A row of zeros has no
    direction: such rows are dealt to the clusters in turn.

    Parameters
    ----------
    unit
        (N, D) float32 rows of length 1 or 0, N >= `n_clusters`.
    n_clusters
        K; a cluster may end up empty where fewer than K lines differ.
    seed
        Of the starts.
    n_starts
        Starts that are tried.
    """
    labels = torch.arange(len(unit)) % n_clusters
    known = unit.any(dim=1)
    rows = unit[known]
    if not len(rows):
        return labels
    generator = torch.Generator().manual_seed(seed)
    best, best_fit = rows[:0], -1.0
    for _ in range(n_starts):
        axes, fit, _ = _improve(rows, _spread_axes(rows, n_clusters, generator), _FIRST_ROUNDS)
        if fit > best_fit * (1 + 1e-9):
            best, best_fit = axes, fit
    labels[known] = _improve(rows, best, _MORE_ROUNDS)[2]
    return labels


def _spread_axes(rows: Tensor, n_clusters: int, generator: torch.Generator) -> Tensor:
    """Draw K rows, each in proportion to its distance to the lines drawn before."""
    chosen = [int(torch.randint(len(rows), (1,), generator=generator))]
    distance = 1 - (rows @ rows[chosen[0]]).square()
    for _ in range(1, n_clusters):
        reach = distance.clamp(min=0).double().cumsum(0)
        drawn = torch.rand(1, generator=generator, dtype=torch.float64) * reach[-1]
        chosen.append(min(int(torch.searchsorted(reach, drawn, right=True)), len(rows) - 1))
        distance = torch.minimum(distance, 1 - (rows @ rows[chosen[-1]]).square())
    return rows[chosen]


def _improve(rows: Tensor, axes: Tensor, rounds: int) -> tuple[Tensor, float, Tensor]:
    """Return axes, the summed squared cosine and labels after up to `rounds` rounds."""
    labels = torch.full((len(rows),), -1)
    fit = 0.0
    for _ in range(rounds):
        nearest = (rows @ axes.T).square().max(dim=1)
        fit = float(nearest.values.double().sum())
        if torch.equal(nearest.indices, labels):
            break
        labels = nearest.indices
        along = (rows * axes[labels]).sum(dim=1, keepdim=True)
        moved, has_members = unit_rows(torch.zeros_like(axes).index_add_(0, labels, along * rows))
        axes = torch.where(has_members.unsqueeze(1), moved, axes)
    return axes, fit, labels
