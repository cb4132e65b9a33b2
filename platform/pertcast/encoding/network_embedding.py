"""Coordinates of genes in a network: near genes have similar ones, also if no profile measures them."""

from __future__ import annotations

from typing import Final

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from pertcast_data.networks.gene_network import GeneNetwork
from scipy.sparse.linalg import LinearOperator, eigsh

RESTART: Final = 0.15
"""Chance that the walk returns to its gene at a step."""

_TIED: Final = 1e-6
_DENSE: Final = 256
"""Networks up to so many genes are decomposed exactly."""


def embed_network(network: GeneNetwork, components: int) -> NDArray[np.float32]:
    """Return (N, K) float32 coordinates of a network's genes, K at most `components`.

    The kernel of personalised PageRank, r (I - (1 - r) S)^-1 with restart r = 0.15, has the eigenvectors u of
    S = (D + t)^-1/2 (A + t/N 11') (D + t)^-1/2 and the eigenvalues r / (1 - (1 - r) l). Coordinates are the
    leading u, each times the square root of its eigenvalue in the kernel, so that their products approach the
    kernel (Page et al. 1999; Tong et al. 2006). The trivial first one is left out.

    A weak tie t/N between all genes, t the mean degree, keeps components from being spent on islands of two
    or three genes (regularised spectral clustering, Amini et al. 2013, Ann. Statist. 41:2097). A gene with
    few partners has short coordinates: little is known of it. Mean square length is 1.

    Parameters
    ----------
    network
        N genes and their weighted edges.
    components
        Coordinates wanted; fewer come back for a network of fewer genes.
    """
    count = min(components, len(network.genes) - 1)
    if count < 1:
        return np.zeros((len(network.genes), 0), np.float32)
    values, vectors = _leading(_adjacency(network), count + 1)
    values, vectors = values[1:], _signed(vectors[:, 1:])
    kernel = RESTART / (1 - (1 - RESTART) * np.clip(values, -1.0, 1.0))
    coordinates = vectors * np.sqrt(kernel)
    length = np.sqrt(np.square(coordinates).sum(axis=1).mean())
    return np.ascontiguousarray(coordinates / max(length, 1e-12), dtype=np.float32)


def _adjacency(network: GeneNetwork) -> sparse.csr_matrix:
    n_genes = len(network.genes)
    first, second = network.edges[:, 0], network.edges[:, 1]
    weights = network.weights.astype(np.float64)
    half = sparse.csr_matrix((weights, (first, second)), shape=(n_genes, n_genes))
    return (half + half.T).tocsr()


def _leading(adjacency: sparse.csr_matrix, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the `count` largest eigenvalues of S, largest first, and their (N, count) eigenvectors."""
    n_genes = adjacency.shape[0]
    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    tie = float(degree.mean())
    root = 1 / np.sqrt(degree + tie)
    spread = sparse.diags(root) @ adjacency @ sparse.diags(root)
    if n_genes <= max(_DENSE, count + 1):
        values, vectors = np.linalg.eigh(spread.toarray() + tie / n_genes * np.outer(root, root))
    else:
        operator = LinearOperator(
            (n_genes, n_genes),
            matvec=lambda x: spread @ x + (tie / n_genes * (root @ x)) * root,
            dtype=np.float64,
        )
        # A fixed start makes the result the same at every call; a random one leaves out no eigenvector.
        start = np.random.default_rng(0).normal(size=n_genes)
        values, vectors = eigsh(operator, k=count, which="LA", v0=start)
    order = np.argsort(-values, kind="stable")[:count]
    return values[order], vectors[:, order]


def _signed(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return eigenvectors with the sign at which the first of their largest entries is positive."""
    sizes = np.abs(vectors)
    # Symmetric networks have equal largest entries: rounding must not choose among them.
    largest = (sizes >= (1 - _TIED) * sizes.max(axis=0)).argmax(axis=0)
    signs = np.sign(vectors[largest, np.arange(vectors.shape[1])])
    signed: NDArray[np.float64] = vectors * np.where(signs == 0, 1.0, signs)
    return signed
