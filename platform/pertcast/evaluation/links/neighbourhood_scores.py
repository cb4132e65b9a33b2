"""Scores of pairs of genes from their neighbours alone: what any embedding has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

NEIGHBOURHOOD_SCORES: Final = (
    "degree product",
    "common neighbours",
    "Adamic-Adar",
    "resource allocation",
)

_CHUNK: Final = 1 << 22
"""Neighbours looked at together; bounds the memory."""


def neighbourhood_scores(edges: Tensor, n_genes: int, pairs: Tensor) -> Mapping[str, Tensor]:
    """Return the scores of pairs in a network without weights.

    degree product d_i d_j; common neighbours |N_i and N_j|; Adamic-Adar: sum over these of 1 / log d
    (Adamic and Adar 2003); resource allocation: sum over these of 1 / d (Zhou et al. 2009).

    Parameters
    ----------
    edges
        (E, 2) int64, each pair once.
    n_genes
        N.
    pairs
        (P, 2) int64.

    Returns
    -------
    Mapping
        (P,) float64 by name, as in `NEIGHBOURHOOD_SCORES`.
    """
    both = torch.cat((edges, edges.flip(1)))
    keys = (both[:, 0] * n_genes + both[:, 1]).sort().values
    starts = torch.searchsorted(keys, torch.arange(n_genes + 1) * n_genes)
    degree = starts.diff()
    weights = torch.stack(
        (torch.ones(n_genes, dtype=torch.float64), 1 / degree.clamp(min=2).log(), 1 / degree.clamp(min=1)), 1
    )
    # The end with fewer neighbours is walked through; each is looked up among the other's.
    fewer_first = torch.where((degree[pairs[:, 0]] > degree[pairs[:, 1]])[:, None], pairs.flip(1), pairs)
    sums = torch.zeros(len(pairs), 3, dtype=torch.float64)
    n_chunks = max(1, -(-int(degree[fewer_first[:, 0]].sum()) // _CHUNK))
    for rows in torch.arange(len(pairs)).chunk(n_chunks):
        counts = degree[fewer_first[rows, 0]]
        row = torch.repeat_interleave(rows, counts)
        within = torch.arange(len(row)) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
        neighbour = keys[starts[fewer_first[row, 0]] + within] % n_genes
        wanted = fewer_first[row, 1] * n_genes + neighbour
        place = torch.searchsorted(keys, wanted).clamp(max=max(len(keys) - 1, 0))
        shared = keys[place] == wanted
        sums.index_add_(0, row[shared], weights[neighbour[shared]])
    product = degree[pairs].double().prod(dim=1)
    return dict(zip(NEIGHBOURHOOD_SCORES, (product, *sums.unbind(1)), strict=True))
