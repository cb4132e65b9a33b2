"""Whether a prediction is told apart from those of other conditions: accuracies and ranks within a pool.

y is a prediction and x a truth; a pool is the conditions of one context and perturbation type. Ties are
broken by the order of conditions, never at random.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertcast.evaluation.held_out import FloatArray, HeldOut, IndexArray
from pertcast.evaluation.metrics.metric import Metric, higher_is_better, lower_is_better
from pertcast.evaluation.rowwise import BLOCK_BYTES, RELATIVE_ROUNDING, DistanceName, distances, row_blocks

Ranking = Callable[[FloatArray, IndexArray], FloatArray]

_SYSTEMA: Final = "Viñas Torné et al. 2025 (Systema)"
_PDS: Final = "Virtual Cell Challenge 2025 / cell-eval (perturbation discrimination score)"
_PERTURBENCH: Final = "Wu et al. 2024 (PerturBench)"
_RETRIEVAL: Final = "rank of Wu et al. 2024 (PerturBench), by direction from the training mean (Systema)"
_MILLER: Final = "Miller et al. 2025 (normalised inverse rank)"


def _by_pool(
    queries: FloatArray,
    candidates: FloatArray,
    held: HeldOut,
    name: DistanceName,
    own_gene: IndexArray,
    ranking: Ranking,
) -> FloatArray:
    """Rank, within each pool, the own candidate by its distance to the query; NaN for a pool of one."""
    result = np.full(held.n_conditions, np.nan)
    for pool in np.unique(held.pool):
        members = np.flatnonzero(held.pool == pool)
        if len(members) < 2:
            continue
        others = candidates[members]
        step = max(1, BLOCK_BYTES // (8 * 3 * len(members)))
        for start in range(0, len(members), step):
            rows = members[start : start + step]
            positions = np.arange(start, start + len(rows))
            result[rows] = ranking(distances(name, queries[rows], others, own_gene[rows]), positions)
    return result


def _share_farther(distance: FloatArray, positions: IndexArray) -> FloatArray:
    own = distance[np.arange(len(distance)), positions][:, None]
    result: FloatArray = (distance > own).sum(axis=1) / (distance.shape[1] - 1)
    return result


def _position(distance: FloatArray, positions: IndexArray) -> FloatArray:
    """Return (M,) how many come before the own candidate; NaN where the own distance is undefined.

    A candidate without distance (all zero, by cosine) is before the own one by chance, and counts half:
    nothing is won by predicting nothing for the others.
    """
    own = distance[np.arange(len(distance)), positions][:, None]
    before: NDArray[np.bool_] = np.arange(distance.shape[1])[None, :] < positions[:, None]
    rank = ((distance < own) | ((distance == own) & before)).sum(axis=1)
    by_chance = 0.5 * np.isnan(distance).sum(axis=1)
    return np.where(np.isnan(own[:, 0]), np.nan, rank + by_chance)


def _one_minus_rank(distance: FloatArray, positions: IndexArray) -> FloatArray:
    result: FloatArray = 1.0 - _position(distance, positions) / distance.shape[1]
    return result


def _rank_share(distance: FloatArray, positions: IndexArray) -> FloatArray:
    result: FloatArray = _position(distance, positions) / (distance.shape[1] - 1)
    return result


def _all_genes(held: HeldOut) -> IndexArray:
    return np.empty((held.n_conditions, 0), dtype=np.int64)


def centroid_accuracy(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """Share of the other conditions' x farther (Euclidean) from y than its own x; same pool."""
    return _by_pool(prediction, held.truth, held, "l2", _all_genes(held), _share_farther)


def discrimination(prediction: FloatArray, held: HeldOut, distance: DistanceName) -> FloatArray:
    """1 - r/N, r >= 0 the rank of the own x among all N x of the pool by distance to y.

    The perturbation's own target genes are left out; ties go to the condition that comes first.
    """
    return _by_pool(prediction, held.truth, held, distance, held.own_gene, _one_minus_rank)


def rank(prediction: FloatArray, held: HeldOut, distance: DistanceName = "l2") -> FloatArray:
    """r/(N-1), r >= 0 the rank of the own y among all N y of the pool by distance to x.

    0 where no other condition's prediction is nearer to the truth; 0.5 by chance.
    """
    return _by_pool(held.truth, prediction, held, distance, _all_genes(held), _rank_share)


def normalised_inverse_rank(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """1 - r/(N-1), r >= 0 the rank of the own x among all N x of the pool by Euclidean distance to y."""
    return 1.0 - _by_pool(prediction, held.truth, held, "l2", _all_genes(held), _rank_share)


def retrieval_rank(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """r/(N-1), r >= 0 the rank of the own x - m among all N of the pool by cosine distance to y - m.

    m is the mean training response of the type and context. 0 where no other truth points more in the
    predicted direction than the own one; 0.5 by chance. The perturbation's own target genes are left out; NaN
    where y is m up to rounding.
    """
    deviations = [np.empty(held.truth.shape, dtype=np.float32) for _ in range(2)]
    for rows in row_blocks(held.n_conditions, held.n_genes):
        mean = held.train_means(rows).astype(np.float64)
        scale = RELATIVE_ROUNDING * np.abs(mean).max(axis=1, initial=0.0, keepdims=True)
        for values, found in zip((prediction, held.truth), deviations, strict=True):
            deviation = values[rows] - mean
            differs = np.abs(deviation).max(axis=1, initial=0.0, keepdims=True) > scale
            found[rows] = np.where(differs, deviation, 0.0)
    return _by_pool(deviations[0], deviations[1], held, "cosine", held.own_gene, _rank_share)


def _discrimination(distance: DistanceName) -> Metric:
    score = partial(discrimination, distance=distance)
    return higher_is_better(f"discrimination_{distance}", f"PDS {distance}", score, _PDS, uninformative=0.5)


RETRIEVAL_METRICS: Final = (
    higher_is_better("centroid_accuracy", "centroid acc", centroid_accuracy, _SYSTEMA, uninformative=0.5),
    _discrimination("l1"),
    _discrimination("l2"),
    _discrimination("cosine"),
    lower_is_better("rank", "rank", rank, _PERTURBENCH, uninformative=0.5),
    lower_is_better(
        "rank_cosine", "rank cosine", partial(rank, distance="cosine"), _PERTURBENCH, uninformative=0.5
    ),
    lower_is_better("retrieval_rank", "retrieval", retrieval_rank, _RETRIEVAL, uninformative=0.5),
    higher_is_better("normalised_inverse_rank", "NIR", normalised_inverse_rank, _MILLER, uninformative=0.5),
)
