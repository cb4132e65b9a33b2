"""Networks as sparse matrices, and the walk's operator on them that every closed-form method decomposes."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from pertcast.models.multiplex_network.integration.eigen import Operator


def adjacency(edges: Tensor, weight: Tensor, n_genes: int, device: torch.device) -> Tensor:
    """Return the (N, N) float64 symmetric CSR matrix of a network.

    Parameters
    ----------
    edges
        (E, 2) int64, each pair once, first < second; in any order.
    weight
        (E,) positive.
    """
    both = torch.cat((edges, edges.flip(1))).to(device)
    key = both[:, 0] * n_genes + both[:, 1]
    key, order = key.sort()
    values = torch.cat((weight, weight)).to(device, torch.float64)[order]
    starts = torch.searchsorted(key, torch.arange(n_genes + 1, device=device) * n_genes)
    return _csr(starts, key % n_genes, values, n_genes)


def scaled_rows_and_columns(matrix: Tensor, scale: Tensor) -> Tensor:
    """Return diag(scale) A diag(scale) of a CSR matrix."""
    starts, columns = matrix.crow_indices(), matrix.col_indices()
    rows = torch.repeat_interleave(torch.arange(len(scale), device=scale.device), starts.diff())
    return _csr(starts, columns, matrix.values() * scale[rows] * scale[columns], len(scale))


def degrees(matrix: Tensor) -> Tensor:
    """Return (N,) float64 the sum of a gene's weights."""
    ones = torch.ones(matrix.shape[1], 1, dtype=matrix.dtype, device=matrix.device)
    total: Tensor = (matrix @ ones)[:, 0]
    return total


def regularised_walk(matrix: Tensor) -> Operator:
    """Return S = (D + t)^-1/2 (A + t/N 11') (D + t)^-1/2, t the mean degree.

    The weak tie t/N between all genes keeps eigenvectors from being spent on islands of two or three genes
    (regularised spectral clustering, Amini et al. 2013, Ann. Statist. 41:2097). Eigenvalues lie in [-1, 1];
    the largest is 1 with the vector (D + t)^1/2 1.
    """
    degree = degrees(matrix)
    tie = degree.mean()
    root = (degree + tie).rsqrt()[:, None]
    spread = scaled_rows_and_columns(matrix, root[:, 0])
    share = tie / len(degree)

    def apply(block: Tensor) -> Tensor:
        image: Tensor = spread @ block
        return image + root * (share * (root.T @ block))

    return apply


def _csr(starts: Tensor, columns: Tensor, values: Tensor, n_genes: int) -> Tensor:
    with warnings.catch_warnings():
        # PyTorch calls all of its CSR support beta; products with dense blocks are what is used of it.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support", category=UserWarning)
        return torch.sparse_csr_tensor(starts, columns, values, (n_genes, n_genes), check_invariants=False)
