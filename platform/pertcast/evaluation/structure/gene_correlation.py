"""Gene-gene correlation: whether predicted responses rise and fall together as the measured ones do.

Correlations are over held-out conditions, on residuals from the mean of their context, so that differences
between contexts, and the response that all conditions share, do not make genes look alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from pertcast.evaluation.bootstrap import Estimate, cluster_draws, estimate_of
from pertcast.evaluation.ceilings.ceiling import SplitHalves
from pertcast.evaluation.held_out import FloatArray, HeldOut, IndexArray
from pertcast.evaluation.parts import GeneCorrelation

MOST_TESTED: Final = 300
"""Genes whose correlations are compared at most."""

MOST_SHOWN: Final = 60
FEWEST_CONDITIONS: Final = 10
"""Conditions beyond the first of their context that a correlation needs."""

N_DRAWS: Final = 100
SPLIT_HALF: Final = "split_half"
TRUTH: Final = "truth"
_LEAST_SD: Final = 1e-6
_CLOSEST: Final = 1 - 1e-9


def genes_by_training(held: HeldOut) -> IndexArray:
    """Return all genes, those that respond most in training first; the test part has no say.

    By root mean square over contexts of the training mean response; ties in gene order.
    """
    size = np.square(held.train_perturbed_mean, dtype=np.float64).mean(axis=0)
    return np.argsort(-size, kind="stable").astype(np.int64)


def correlations(responses: FloatArray, pool: IndexArray, weight: FloatArray | None = None) -> FloatArray:
    """Return (G, G) float32 correlations of genes within pools; NaN for a gene constant up to rounding.

    Parameters
    ----------
    responses
        (N, G).
    pool
        (N,) context of each condition: residuals are from its mean.
    weight
        (N,) how often each condition counts; once by default.
    """
    counts = np.ones(len(pool)) if weight is None else weight
    member = (pool == np.unique(pool)[:, None]) * counts
    means = member @ responses / member.sum(axis=1, keepdims=True)
    centred = responses - member.astype(bool).T @ means
    centred *= np.sqrt(counts)[:, None]
    spread = np.sqrt(np.einsum("ij,ij->j", centred, centred))
    constant = spread <= _LEAST_SD * np.sqrt(counts.sum()) * np.abs(responses).max(axis=0, initial=0.0)
    scaled = (centred / np.where(constant, 1.0, spread)).astype(np.float32)
    found: FloatArray = np.clip(scaled.T @ scaled, -1.0, 1.0)
    found[constant] = np.nan
    found[:, constant] = np.nan
    return found


def agreement(predicted: FloatArray, measured: FloatArray) -> float:
    """Return the Pearson correlation of the off-diagonal entries of two (g, g) matrices of correlations.

    Pairs that are undefined in the truth are left out; a pair that is undefined in the prediction alone
    counts as uncorrelated there. NaN where the prediction is undefined throughout.
    """
    known = ~np.isnan(measured)
    np.fill_diagonal(known, False)
    if np.isnan(predicted[known]).all():
        return float("nan")
    first, second = (np.where(known & ~np.isnan(side), side, 0.0).ravel() for side in (predicted, measured))
    count = np.count_nonzero(known)
    mean, other = first.sum(dtype=np.float64) / count, second.sum(dtype=np.float64) / count
    product = float(np.dot(first, second)) / count - mean * other
    spread = float(np.dot(first, first)) / count - mean**2
    breadth = float(np.dot(second, second)) / count - other**2
    return float(product / np.sqrt(spread * breadth)) if spread > 0 and breadth > 0 else float("nan")


def _agreements(
    predicted: Mapping[str, FloatArray],
    measured: FloatArray,
    pool: IndexArray,
    cluster: IndexArray,
    seed: int,
) -> dict[str, Estimate]:
    """Return agreements with intervals by resampling perturbations, everybody and the truth together."""
    labels, index = np.unique(cluster, return_inverse=True)
    truth = correlations(measured, pool)
    values = {name: agreement(correlations(side, pool), truth) for name, side in predicted.items()}
    draws = {name: np.full(N_DRAWS, np.nan) for name in values}
    for draw, counts in enumerate(cluster_draws(len(labels), N_DRAWS, seed)):
        drawn = np.flatnonzero(counts[index])
        weight = counts[index[drawn]].astype(np.float64)
        truth = correlations(measured[drawn], pool[drawn], weight)
        for name, value in values.items():
            if not np.isnan(value):
                side = correlations(predicted[name][drawn], pool[drawn], weight)
                draws[name][draw] = agreement(side, truth)
    return {
        name: estimate_of(value, _centred(draws[name], value), len(measured))
        for name, value in values.items()
    }


def _centred(draws: FloatArray, value: float) -> FloatArray:
    """Return draws moved, on Fisher's scale, so that their mean is at the value.

    A draw holds some conditions twice and others not at all, so that its correlations are noisier, and agree
    less, than those of all conditions.
    """
    scaled = np.arctanh(np.clip(draws, -_CLOSEST, _CLOSEST))
    if np.isnan(scaled).all():
        return draws
    moved: FloatArray = np.tanh(scaled - np.nanmean(scaled) + np.arctanh(np.clip(value, -_CLOSEST, _CLOSEST)))
    return moved


def clustered_order(matrix: FloatArray) -> IndexArray:
    """Return an order of genes that puts correlated ones side by side (average linkage of 1 - r)."""
    if len(matrix) < 3:
        return np.arange(len(matrix))
    distance = np.clip(1.0 - np.nan_to_num((matrix + matrix.T) / 2), 0.0, None)
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), method="average", optimal_ordering=True)
    order: IndexArray = leaves_list(tree).astype(np.int64)
    return order


def _has_enough(pool: IndexArray) -> bool:
    return len(pool) - len(np.unique(pool)) >= FEWEST_CONDITIONS


def gene_correlation(
    held: HeldOut,
    predictions: Mapping[str, FloatArray],
    shown: Sequence[str],
    halves: SplitHalves | None = None,
    seed: int = 0,
) -> GeneCorrelation | None:
    """Compare gene-gene correlations of predictions with those of the measured responses.

    At most 300 genes are tested, and 60 of them shown: those that respond most in training. Intervals come
    from 100 resamplings of the held-out perturbations, the same for everybody.

    Parameters
    ----------
    held
        The truth; correlations are within its pools.
    predictions
        Contender -> (N, G) predicted responses.
    shown
        Contenders whose matrices are kept, beside the truth's.
    halves
        Split halves of the truth: their agreement with each other is what replicates reach.
    seed
        Of the resampling.

    Returns
    -------
    GeneCorrelation or None
        None with fewer than ten conditions beyond the first of their context, or fewer than three genes.
    """
    if not _has_enough(held.pool) or held.n_genes < 3:
        return None
    tested = genes_by_training(held)[:MOST_TESTED]
    measured = held.truth[:, tested]
    sides = {name: prediction[:, tested] for name, prediction in predictions.items()}
    found = _agreements(sides, measured, held.pool, held.cluster, seed)
    if halves is not None and _has_enough(held.pool[halves.index]):
        first, second = {SPLIT_HALF: halves.first[:, tested]}, halves.second[:, tested]
        pool, cluster = held.pool[halves.index], held.cluster[halves.index]
        found |= _agreements(first, second, pool, cluster, seed)
    kept = tested[:MOST_SHOWN]
    truth = correlations(held.truth[:, kept], held.pool)
    order = clustered_order(truth)
    drawn = {name: correlations(predictions[name][:, kept], held.pool) for name in shown}
    return GeneCorrelation(
        genes=tuple(held.genes[gene] for gene in kept[order]),
        matrices={name: matrix[np.ix_(order, order)] for name, matrix in {TRUTH: truth, **drawn}.items()},
        agreement=found,
        n_conditions=held.n_conditions,
        n_genes=len(tested),
    )
