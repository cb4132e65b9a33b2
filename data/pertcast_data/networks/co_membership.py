"""Groups of genes as a network: genes that share many small groups are tied most.

The product of memberships is taken a few genes at a time, so memory is bounded by the pairs themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

SMALLEST_GROUP: Final = 2
LARGEST_GROUP: Final = 300
"""Groups of more genes tie everything to everything, and say little of each pair."""

_ROWS_AT_ONCE: Final = 1024


@dataclass(frozen=True)
class CoMembership:
    """Pairs of genes that share a group.

    Attributes
    ----------
    edges
        (E, 2) int64 rows of genes, each pair once, first < second, sorted.
    weights
        (E,) float32: the sum over shared groups of 1 / (genes in the group - 1).
    n_too_small, n_too_large
        Groups of fewer than 2, of more than 300 known genes; left out.
    """

    edges: NDArray[np.int64]
    weights: NDArray[np.float32]
    n_too_small: int
    n_too_large: int


def co_membership(members: NDArray[np.int64], n_groups: int, n_genes: int) -> CoMembership:
    """Return the pairs of genes that share a group.

    A gene's weights over one group sum to 1, whatever the group's size; complexes of TranscriptionNet's
    network (arXiv 2403.02724) are weighted so.

    Parameters
    ----------
    members
        (M, 2) int64: group, gene; a pair that stands there twice counts once.
    n_groups, n_genes
        Numbers of groups and genes.
    """
    distinct = np.unique(members, axis=0)
    sizes = np.bincount(distinct[:, 0], minlength=n_groups)
    fits = (sizes >= SMALLEST_GROUP) & (sizes <= LARGEST_GROUP)
    kept = distinct[fits[distinct[:, 0]]]
    shares = 1.0 / (sizes[kept[:, 0]] - 1)
    shape = (n_genes, n_groups)
    gene_in_group = sparse.csr_matrix((np.ones(len(kept)), (kept[:, 1], kept[:, 0])), shape=shape)
    group_of_gene = sparse.csr_matrix((shares, (kept[:, 0], kept[:, 1])), shape=shape[::-1])
    edges, weights = [np.empty((0, 2), np.int64)], [np.empty(0, np.float32)]
    # A few genes at a time: the whole product also holds each pair's other half and the genes themselves.
    for start in range(0, n_genes, _ROWS_AT_ONCE):
        product = gene_in_group[start : start + _ROWS_AT_ONCE] @ group_of_gene
        product.sort_indices()
        shared = product.tocoo()
        first, second = shared.row.astype(np.int64) + start, shared.col.astype(np.int64)
        is_upper = first < second
        edges.append(np.column_stack((first[is_upper], second[is_upper])))
        weights.append(shared.data[is_upper].astype(np.float32))
    return CoMembership(
        edges=np.concatenate(edges),
        weights=np.concatenate(weights),
        n_too_small=int((sizes < SMALLEST_GROUP).sum()),
        n_too_large=int((sizes > LARGEST_GROUP).sum()),
    )
