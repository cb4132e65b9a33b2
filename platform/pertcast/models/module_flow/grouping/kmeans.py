"""Seeded k-means with k-means++ starts, in torch: the first labels of the modules.

Arthur & Vassilvitskii 2007 for the starts, Lloyd's rounds after them; the best of several starts is kept.
"""

from __future__ import annotations

import torch
from torch import Tensor

_ROUNDS = 50


def kmeans(points: Tensor, n_clusters: int, seed: int, n_starts: int = 10) -> Tensor:
    """Return (N,) int64 labels of the clustering with the least squared distance to its centroids.

    Parameters
    ----------
    points
        (N, D), N >= `n_clusters`.
    n_clusters
        K; a cluster may end up empty where fewer than K points differ.
    seed
        Of the starts.
    n_starts
        Starts that are tried.
    """
    generator = torch.Generator().manual_seed(seed)
    best_labels, best_loss = torch.zeros(len(points), dtype=torch.int64), float("inf")
    for _ in range(n_starts):
        labels, loss = _lloyd(points, _spread_centroids(points, n_clusters, generator))
        if loss < best_loss * (1 - 1e-9):
            best_labels, best_loss = labels, loss
    return best_labels


def _spread_centroids(points: Tensor, n_clusters: int, generator: torch.Generator) -> Tensor:
    """Draw K points, each in proportion to its squared distance to those drawn before."""
    first = int(torch.randint(len(points), (1,), generator=generator))
    chosen = [first]
    squares = points.square().sum(dim=1)
    distance = (squares + squares[first] - 2 * (points @ points[first])).clamp(min=0)
    for _ in range(1, n_clusters):
        reach = distance.double().cumsum(0)
        drawn = float(torch.rand(1, generator=generator, dtype=torch.float64)) * float(reach[-1])
        place = min(int(torch.searchsorted(reach, drawn, right=True)), len(points) - 1)
        chosen.append(place)
        distance = torch.minimum(distance, squares + squares[place] - 2 * (points @ points[place])).clamp(
            min=0
        )
    return points[chosen]


def _lloyd(points: Tensor, centroids: Tensor) -> tuple[Tensor, float]:
    labels = torch.full((len(points),), -1)
    loss = float("inf")
    for _ in range(_ROUNDS):
        distance = centroids.square().sum(dim=1) - 2 * (points @ centroids.T)
        nearest = distance.min(dim=1)
        loss = float(nearest.values.double().sum() + points.double().square().sum())
        if torch.equal(nearest.indices, labels):
            break
        labels = nearest.indices
        sums = torch.zeros_like(centroids).index_add_(0, labels, points)
        counts = torch.bincount(labels, minlength=len(centroids)).to(points.dtype).unsqueeze(1)
        centroids = torch.where(counts > 0, sums / counts.clamp(min=1), centroids)
    return labels, loss
