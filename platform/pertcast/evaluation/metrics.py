"""The metrics, each registered once: name, formula, direction, best value, source.

Notation: y predicted and x true response of a condition (profile minus matched control), over G genes;
N conditions. Every metric gives one value a condition (or a well), NaN where it is undefined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np
from pertcast_data.errors import ConfigError, nearest_known

from pertcast.evaluation.held_out import FloatArray, HeldOut, IndexArray
from pertcast.evaluation.rowwise import (
    BLOCK_BYTES,
    DistanceName,
    by_rows,
    distances,
    mean_absolute_error,
    mean_squared_error,
    pearson,
    r_squared,
    row_blocks,
)


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes
    ----------
    name
        Its word in tables, JSON and objectives.
    title
        Short column header.
    level
        "condition": scored on condition means, ``score(prediction (N, G), HeldOut) -> (N,)``.
        "well": scored on single profiles, absolute, ``score(prediction (M, G), profiles (M, G)) -> (M,)``.
    direction
        Whether higher or lower values are better.
    best
        Value of a perfect prediction.
    uninformative
        Value of a prediction without information: stands in for an undefined value where two predictions
        are compared pair by pair (said so in the report); None where the metric is always defined.
    source
        Where the definition comes from.
    score
        The function; its docstring holds the formula.
    """

    name: str
    title: str
    level: Literal["condition", "well"]
    direction: Literal["higher", "lower"]
    best: float
    uninformative: float | None
    source: str
    score: Callable[[FloatArray, Any], FloatArray]

    @property
    def formula(self) -> str:
        """The first line of the scoring function's docstring."""
        function = self.score.func if isinstance(self.score, partial) else self.score
        return (function.__doc__ or "").strip().splitlines()[0]

    @property
    def sign(self) -> int:
        """+1 where higher is better, -1 where lower is."""
        return 1 if self.direction == "higher" else -1


def pearson_delta(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """corr over genes of (y, x); NaN where y or x is constant."""  # noqa: D403
    return by_rows(pearson, prediction, held.truth)


def pearson_delta_top(prediction: FloatArray, held: HeldOut, n_genes: int = 20) -> FloatArray:
    """corr of (y, x) over the n genes with the largest |x| (ties: first in gene order)."""  # noqa: D403

    def on_top_genes(y: FloatArray, x: FloatArray) -> FloatArray:
        top = np.argsort(-np.abs(x), axis=1, kind="stable")[:, :n_genes]
        return pearson(np.take_along_axis(y, top, 1), np.take_along_axis(x, top, 1))

    return by_rows(on_top_genes, prediction, held.truth)


def pearson_delta_pert(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """corr of (y - m, x - m), m the mean response of the training perturbations (of the context).

    Credit for the response that all perturbations share is gone: predicting m itself is undefined.
    """  # noqa: D403
    result = np.empty(held.n_conditions)
    for rows in row_blocks(held.n_conditions, held.n_genes, copies=6):
        mean = held.train_means(rows).astype(np.float64)
        scale = np.abs(mean).max(axis=1, initial=0.0)
        result[rows] = pearson(prediction[rows] - mean, held.truth[rows] - mean, scale)
    return result


def r2(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """1 - sum (x - y)^2 / sum (x - mean x)^2 over genes, on responses."""
    return by_rows(r_squared, prediction, held.truth)


def mse(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """Mean over genes of (x - y)^2; the same on responses as on means."""
    return by_rows(mean_squared_error, prediction, held.truth)


def mae(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """Mean over genes of |x - y|; the same on responses as on means."""
    return by_rows(mean_absolute_error, prediction, held.truth)


Ranking = Callable[[FloatArray, IndexArray], FloatArray]


def _by_pool(
    prediction: FloatArray, held: HeldOut, name: DistanceName, own_gene: IndexArray, ranking: Ranking
) -> FloatArray:
    """Rank, within each pool, the own truth by its distance to the prediction; NaN for a pool of one."""
    result = np.full(held.n_conditions, np.nan)
    for pool in np.unique(held.pool):
        members = np.flatnonzero(held.pool == pool)
        if len(members) < 2:
            continue
        truth = held.truth[members]
        step = max(1, BLOCK_BYTES // (8 * 3 * len(members)))
        for start in range(0, len(members), step):
            rows = members[start : start + step]
            positions = np.arange(start, start + len(rows))
            result[rows] = ranking(distances(name, prediction[rows], truth, own_gene[rows]), positions)
    return result


def _share_farther(distance: FloatArray, positions: IndexArray) -> FloatArray:
    own = distance[np.arange(len(distance)), positions][:, None]
    result: FloatArray = (distance > own).sum(axis=1) / (distance.shape[1] - 1)
    return result


def _one_minus_rank(distance: FloatArray, positions: IndexArray) -> FloatArray:
    own = distance[np.arange(len(distance)), positions][:, None]
    before = np.arange(distance.shape[1])[None, :] < positions[:, None]
    rank = ((distance < own) | ((distance == own) & before)).sum(axis=1)
    return np.where(np.isnan(own[:, 0]), np.nan, 1.0 - rank / distance.shape[1])


def centroid_accuracy(prediction: FloatArray, held: HeldOut) -> FloatArray:
    """Share of the other conditions' x farther (Euclidean) from y than its own x; same context."""
    nothing = np.empty((held.n_conditions, 0), dtype=np.int64)
    return _by_pool(prediction, held, "l2", nothing, _share_farther)


def discrimination(prediction: FloatArray, held: HeldOut, distance: DistanceName) -> FloatArray:
    """1 - r/N, r >= 0 the rank of the own x among all N x of the context by distance to y.

    The perturbation's own target genes are left out; ties go to the condition that comes first.
    """
    return _by_pool(prediction, held, distance, held.own_gene, _one_minus_rank)


def well_pearson(prediction: FloatArray, profiles: FloatArray) -> FloatArray:
    """corr over genes of predicted and measured profile, absolute scale."""  # noqa: D403
    return by_rows(pearson, prediction, profiles)


def well_r2(prediction: FloatArray, profiles: FloatArray) -> FloatArray:
    """1 - sum (p - q)^2 / sum (p - mean p)^2 over genes, p measured and q predicted, absolute scale."""
    return by_rows(r_squared, prediction, profiles)


def well_mse(prediction: FloatArray, profiles: FloatArray) -> FloatArray:
    """Mean over genes of (p - q)^2, p measured and q predicted, absolute scale."""
    return by_rows(mean_squared_error, prediction, profiles)


_SYSTEMA: Final = "Viñas Torné et al. 2025 (Systema)"
_PDS: Final = "Virtual Cell Challenge 2025 / cell-eval (perturbation discrimination score)"
_COMMON: Final = "common use"


def _similarity(
    name: str, title: str, score: Callable[..., FloatArray], source: str = _COMMON, uninformative: float = 0.0
) -> Metric:
    return Metric(name, title, "condition", "higher", 1.0, uninformative, source, score)


def _discrimination(distance: DistanceName) -> Metric:
    score = partial(discrimination, distance=distance)
    return _similarity(f"discrimination_{distance}", f"PDS {distance}", score, _PDS, uninformative=0.5)


_ALL: Final = (
    _similarity("pearson_delta", "r delta", pearson_delta),
    _similarity("pearson_delta_top20", "r top20", partial(pearson_delta_top, n_genes=20)),
    _similarity("pearson_delta_pert", "r vs pert mean", pearson_delta_pert, _SYSTEMA),
    Metric("r2", "R2 delta", "condition", "higher", 1.0, None, _COMMON, r2),
    Metric("mse", "MSE", "condition", "lower", 0.0, None, _COMMON, mse),
    Metric("mae", "MAE", "condition", "lower", 0.0, None, _COMMON, mae),
    _similarity("centroid_accuracy", "centroid acc", centroid_accuracy, _SYSTEMA, uninformative=0.5),
    _discrimination("l1"),
    _discrimination("l2"),
    _discrimination("cosine"),
    Metric("well_pearson", "well r", "well", "higher", 1.0, 0.0, _COMMON, well_pearson),
    Metric("well_r2", "well R2", "well", "higher", 1.0, None, _COMMON, well_r2),
    Metric("well_mse", "well MSE", "well", "lower", 0.0, None, _COMMON, well_mse),
)

METRICS: Final[Mapping[str, Metric]] = MappingProxyType({metric.name: metric for metric in _ALL})
"""Name -> metric; condition-level metrics first."""

PRIMARY_METRIC: Final = "pearson_delta"
"""What verdicts are about, decided beforehand: the mean over conditions of `pearson_delta`."""


def get_metric(name: str) -> Metric:
    """Return a metric by name; raises ConfigError with the nearest known names."""
    if name not in METRICS:
        near = nearest_known(name, METRICS)
        raise ConfigError(f"Unknown metric {name!r}. Nearest known: {', '.join(near) or ', '.join(METRICS)}.")
    return METRICS[name]


def metrics_of_level(level: Literal["condition", "well"]) -> tuple[Metric, ...]:
    """Return the registered metrics of one level, in order."""
    return tuple(metric for metric in METRICS.values() if metric.level == level)
