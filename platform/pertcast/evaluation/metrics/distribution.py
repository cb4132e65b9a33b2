"""Distances between two populations of cells: energy distance, kernel discrepancy, optimal transport.

All start from squared Euclidean distances of cells over genes. Sums run over all pairs, a cell with itself
included (V statistics), except where said otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.models.transport.sinkhorn import entropic_transport

SAME_CELL: Final = 4e-6
"""Squared distances below this share of the cells' squared lengths are rounding of float32, and are 0."""

BANDWIDTHS: Final = (4.0, 2.0, 1.0, 0.5, 0.25)
"""Widths of the Gaussian kernels, as multiples of a median squared distance; each is half the one before."""

SINKHORN_SMOOTHING: Final = 0.5
"""Entropic regularisation of optimal transport, as a multiple of a median squared distance.

Over thousands of genes all cells are about equally far from one another: with much less smoothing every
cell of a population is matched with itself alone, and two samples of one population would look far apart.
"""

_ROUNDING: Final = 1e-6
_MOST_ITERATIONS: Final = 500
_MARGINAL_ERROR: Final = 1e-7


@dataclass(frozen=True)
class Points:
    """Cells that distances are taken of.

    Attributes
    ----------
    cells
        (n, G) float32, relative to a centre that all populations share.
    lengths
        (n,) float64 sums of squares.
    """

    cells: FloatArray
    lengths: FloatArray

    @classmethod
    def of(cls, cells: FloatArray) -> Points:
        """Return the points of (n, G) cells."""
        return cls(cells, np.einsum("ij,ij->i", cells, cells, dtype=np.float64))


def squared_distances(first: Points, second: Points) -> FloatArray:
    """Return (n, m) float64 squared Euclidean distances; products are taken in the cells' own precision."""
    sums: FloatArray = first.lengths[:, None] + second.lengths[None, :]
    squared: FloatArray = sums - 2.0 * (first.cells @ second.cells.T).astype(np.float64)
    squared[squared <= SAME_CELL * sums] = 0.0
    return squared


def energy_distance(between: FloatArray, within_first: FloatArray, within_second: FloatArray) -> float:
    """Return 2 mean |x - y| - mean |x - x'| - mean |y - y'| from squared distances (Székely and Rizzo 2013).

    The definition of cell-eval 0.8.2.
    """
    mean = [float(np.sqrt(squared).mean()) for squared in (between, within_first, within_second)]
    return 2.0 * mean[0] - mean[1] - mean[2]


def _kernel_mean(squared: FloatArray, scale: float) -> float:
    """Return the mean over pairs and `BANDWIDTHS`: half the width makes the square of the kernel."""
    kernel = np.exp(squared * (-0.5 / (BANDWIDTHS[0] * scale)))
    total = float(kernel.mean())
    for _ in BANDWIDTHS[1:]:
        kernel *= kernel
        total += float(kernel.mean())
    return total / len(BANDWIDTHS)


def kernel_discrepancy(
    between: FloatArray, within_first: FloatArray, within_second: FloatArray, scale: float
) -> float:
    """Return the squared maximum mean discrepancy, mean over Gaussian kernels exp(-d^2 / (2 b scale)).

    Gretton et al. (2012); b runs over `BANDWIDTHS`. NaN where `scale` is 0.
    """
    if not scale > 0:
        return float("nan")
    means = [_kernel_mean(squared, scale) for squared in (within_first, within_second, between)]
    return max(0.0, means[0] + means[1] - 2.0 * means[2])


def transport_cost(cost: FloatArray, smoothing: float) -> float:
    """Return the entropic optimal transport cost of two uniform populations by Sinkhorn's iteration.

    cost (n, m): min over couplings P of <P, cost> + smoothing KL(P, uniform), as <f, 1/n> + <g, 1/m> of its
    dual; see `entropic_transport`.
    """
    problem = torch.from_numpy(np.ascontiguousarray(cost, dtype=np.float64)).unsqueeze(0)
    epsilon = torch.tensor([smoothing], dtype=torch.float64)
    return float(entropic_transport(problem, epsilon, _MOST_ITERATIONS, _MARGINAL_ERROR).value)


def sinkhorn_divergence(
    between: FloatArray, within_first: FloatArray, within_second: FloatArray, smoothing: float
) -> float:
    """Return OT(x, y) - OT(x, x) / 2 - OT(y, y) / 2 on squared distances (Feydy et al. 2019).

    NaN where `smoothing` is 0.
    """
    if not smoothing > 0:
        return float("nan")
    costs = [transport_cost(squared, smoothing) for squared in (between, within_first, within_second)]
    return max(0.0, costs[0] - 0.5 * (costs[1] + costs[2]))


def _standardised(cells: FloatArray, genes: IndexArray) -> FloatArray:
    chosen = cells[:, genes]
    centred: FloatArray = chosen - chosen.mean(axis=0, dtype=np.float64).astype(cells.dtype)
    centred /= np.sqrt(np.square(centred).mean(axis=0, dtype=np.float64)).astype(cells.dtype)
    return centred


def correlation_similarity(first: FloatArray, second: FloatArray) -> float:
    """Return the Pearson correlation, over pairs of genes, of the two populations' gene-gene correlations.

    Over all genes that vary in both; NaN for fewer than three. No gene-by-gene matrix is made: with
    standardised cells Z (n, G) and W (m, G), the sum over pairs of products of correlations is
    |Z W'|^2 / (n m).
    """
    varying = [
        cells.std(axis=0, dtype=np.float64) > _ROUNDING * np.abs(cells).max(axis=0)
        for cells in (first, second)
    ]
    genes = np.flatnonzero(varying[0] & varying[1]).astype(np.int64)
    g = len(genes)
    if g < 3:
        return float("nan")
    z = [_standardised(cells, genes) for cells in (first, second)]
    pairs = g * (g - 1.0)

    def product(i: int, j: int) -> float:
        gram = z[i] @ z[j].T
        whole = float(np.square(gram, dtype=np.float64).sum()) / (len(z[i]) * len(z[j]))
        return (whole - g) / pairs

    mean = [(float(np.square(w.sum(axis=1, dtype=np.float64)).sum()) / len(w) - g) / pairs for w in z]
    covariance = product(0, 1) - mean[0] * mean[1]
    variance = (product(0, 0) - mean[0] ** 2) * (product(1, 1) - mean[1] ** 2)
    return float(np.clip(covariance / np.sqrt(variance), -1.0, 1.0)) if variance > 0 else float("nan")


def variance_agreement(true: FloatArray, predicted: FloatArray) -> float:
    """Return the median over genes of min(v, w) / max(v, w), v and w variances over true and predicted cells.

    Over genes that vary among true cells; NaN without any.
    """
    v, w = (cells.var(axis=0, dtype=np.float64) for cells in (true, predicted))
    varying = true.max(axis=0) > true.min(axis=0)
    if not varying.any():
        return float("nan")
    return float(np.median(np.minimum(v, w)[varying] / np.maximum(v, w)[varying]))


def dropout_difference(true: FloatArray, predicted: FloatArray) -> float:
    """Return the mean over genes of the absolute difference of the shares of cells that have exactly zero."""
    shares = [np.count_nonzero(cells == 0, axis=0) / len(cells) for cells in (true, predicted)]
    return float(np.abs(shares[0] - shares[1]).mean())
