"""Which genes vary most, from sums over rows: two published scores, no matrix of all rows.

"seurat_v3": Stuart et al., Cell 2019 (Seurat's `vst`). "dispersion": Satija et al., Nature Biotechnol. 2015.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertcast_data.preparation.blocks import Values, gene_sums

Blocks = Callable[[], Iterable[Values]]
"""Begins a pass over the training rows."""

_DEGREE: Final = 2
_NEAR, _FAR = 0.001, 0.999
_LEAST_MEAN: Final = 1e-12


def standardised_variance(
    blocks: Blocks, n_rows: int, n_genes: int, span: float = 0.3
) -> NDArray[np.float64]:
    """Return each gene's variance of counts after standardising by the trend of variance on mean.

    log10 variance is fitted on log10 mean by local quadratic regression; counts are standardised by the
    gene's mean and the trend's standard deviation, clipped at sqrt(n_rows), and their variance is taken
    (Stuart et al. 2019, Methods; restated as in scanpy, flavour "seurat_v3", one batch). Two passes.

    Parameters
    ----------
    blocks
        Begins a pass over rows of raw counts.
    n_rows, n_genes
        Of the blocks together.
    span
        Of the regression.

    Returns
    -------
    (n_genes,) float64; 0 for genes that are constant.
    """
    total, squares = gene_sums(blocks(), n_genes, lambda x, _: x, lambda x, _: x * x)
    mean = total / n_rows
    variance = np.maximum((squares - n_rows * mean**2) / max(n_rows - 1, 1), 0)
    varies = variance > 0
    scale = np.ones(n_genes)
    if varies.any():
        trend = local_quadratic(np.log10(mean[varies]), np.log10(variance[varies]), span)
        scale[varies] = np.sqrt(10**trend)
    ceiling = scale * np.sqrt(n_rows) + mean

    def clipped(x: NDArray[np.float64], genes: NDArray[np.int64]) -> NDArray[np.float64]:
        limited: NDArray[np.float64] = np.minimum(x, ceiling[genes])
        return limited

    total, squares = gene_sums(blocks(), n_genes, clipped, lambda x, genes: clipped(x, genes) ** 2)
    score: NDArray[np.float64] = (n_rows * mean**2 + squares - 2 * total * mean) / (
        max(n_rows - 1, 1) * scale**2
    )
    score[~varies] = 0.0
    return score


def normalised_dispersion(blocks: Blocks, n_rows: int, n_genes: int, n_bins: int = 20) -> NDArray[np.float64]:
    """Return each gene's log dispersion (variance / mean), standardised among genes of like mean.

    Mean and variance are of expm1 of the log1p values; genes are cut into bins of equal width of
    log1p(mean), and within a bin the bin's mean is subtracted and its standard deviation divided by. A gene
    alone in its bin gets 1 (Satija et al. 2015, as in Seurat's `mean.var.plot` and scanpy, flavour "seurat").
    One pass.

    Parameters
    ----------
    blocks
        Begins a pass over rows of log1p values.
    n_rows, n_genes, n_bins
        See above.

    Returns
    -------
    (n_genes,) float64; -inf for genes without dispersion.
    """
    total, squares = gene_sums(blocks(), n_genes, lambda x, _: np.expm1(x), lambda x, _: np.expm1(x) ** 2)
    mean = total / n_rows
    variance = np.maximum((squares - n_rows * mean**2) / max(n_rows - 1, 1), 0)
    dispersion = variance / np.where(mean == 0, _LEAST_MEAN, mean)
    known = dispersion > 0
    score = np.full(n_genes, -np.inf)
    if not known.any():
        return score
    logged = np.log(dispersion, where=known, out=np.zeros(n_genes))
    bins = _equal_bins(np.log1p(mean), n_bins)
    for number in np.unique(bins[known]):
        members = known & (bins == number)
        values = logged[members]
        if len(values) == 1:
            score[members] = 1.0
            continue
        spread = values.std(ddof=1)
        score[members] = (values - values.mean()) / spread if spread > 0 else 0.0
    return score


def best_genes(scores: NDArray[np.float64], n_top: int) -> NDArray[np.int64]:
    """Return the places of the `n_top` largest scores, ascending; of equal ones the first genes."""
    ranked = np.argsort(-scores, kind="stable")[:n_top]
    return np.sort(ranked).astype(np.int64)


def local_quadratic(x: NDArray[np.float64], y: NDArray[np.float64], span: float) -> NDArray[np.float64]:
    """Return the loess fit of `y` on `x` at every point (Cleveland and Devlin, 1988), (N,) float64.

    At each point a parabola is fitted to the nearest `span` of the points with tricube weights of their
    distance; every point has a fit of its own (no interpolation between vertices, as "loess" in R does by
    default), so that the result agrees with R's `surface = "direct"`.
    """
    order = np.argsort(x, kind="stable")
    abscissae, ordinates = x[order], y[order]
    n_near = min(len(x), max(int(len(x) * span + 1e-5), _DEGREE + 1))
    distinct, place = np.unique(abscissae, return_inverse=True)
    fitted = np.empty(len(distinct))
    left = 0
    for number, centre in enumerate(distinct):
        while left + n_near < len(x) and abscissae[left + n_near] - centre < centre - abscissae[left]:
            left += 1
        reach = max(centre - abscissae[left], abscissae[left + n_near - 1] - centre)
        first = int(np.searchsorted(abscissae, centre - reach, "left"))
        last = int(np.searchsorted(abscissae, centre + reach, "right"))
        fitted[number] = _fit_at(centre, reach, abscissae[first:last], ordinates[first:last])
    result = np.empty(len(x))
    result[order] = fitted[place]
    return result


def _fit_at(centre: float, reach: float, x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    if reach <= 0:
        return float(y.mean())
    offset = (x - centre) / reach
    distance = np.abs(offset)
    weight = np.where(distance < _NEAR, 1.0, (1 - np.minimum(distance, 1) ** 3) ** 3)
    weight[distance > _FAR] = 0.0
    powers = np.vander(offset, 2 * _DEGREE + 1, increasing=True)
    moments = weight @ powers
    size = _DEGREE + 1
    normal = np.array([moments[row : row + size] for row in range(size)])
    response = (weight * y) @ powers[:, :size]
    # A pseudo-inverse: where few distinct means lie in reach, a parabola is not determined.
    return float((np.linalg.pinv(normal, rcond=1e-12, hermitian=True) @ response)[0])


def _equal_bins(values: NDArray[np.float64], n_bins: int) -> NDArray[np.int64]:
    edges = np.linspace(values.min(), values.max(), n_bins + 1)
    return np.clip(np.searchsorted(edges, values, side="left") - 1, 0, n_bins - 1).astype(np.int64)
