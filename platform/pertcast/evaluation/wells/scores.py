"""Scores of one contender's wells, each with resampled draws: 1 is a perfect population, higher is better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import numpy as np

from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.metrics.distribution import Points
from pertcast.evaluation.structure.gene_correlation import agreement, correlations
from pertcast.evaluation.wells.distances import PointSet, Reference, distances
from pertcast.evaluation.wells.labelled import WellLabels, Wells, residuals
from pertcast.evaluation.wells.variance import closeness, variance_ratios, variances

Level = Literal["context", "replicates"]
LEVELS: Final[tuple[Level, ...]] = ("context", "replicates")
"""Residuals from the mean of the cell line, and from the mean of the condition."""

MEASURES: Final = MappingProxyType(
    {
        "variance": "variance within the cell line",
        "e_distance": "E-distance",
        "mmd": "MMD",
        "gene_correlation": "gene-gene correlation within the cell line",
        "replicate_variance": "variance between replicates",
        "replicate_correlation": "gene-gene correlation between replicates",
    }
)
"""Score -> its name for people. Variances: exp(-mean |log ratio|). Distances: 1 - distance over that of wells
in which nothing happens. Correlations: Pearson of the upper triangles with the measured ones."""

DISTANCES: Final = ("e_distance", "mmd")

VARIANCE_OF: Final[Mapping[Level, str]] = MappingProxyType(
    {"context": "variance", "replicates": "replicate_variance"}
)
CORRELATION_OF: Final[Mapping[Level, str]] = MappingProxyType(
    {"context": "gene_correlation", "replicates": "replicate_correlation"}
)


@dataclass(frozen=True)
class Draws:
    """Weights of the perturbations: row 0 counts each once, the others are resampled.

    Attributes
    ----------
    of_cluster
        (1 + D, P).
    """

    of_cluster: FloatArray

    def of_wells(self, labels: WellLabels) -> FloatArray:
        """Return (1 + D, W) how often each well counts."""
        weight: FloatArray = self.of_cluster[:, labels.cluster]
        return weight


def label_of(labels: WellLabels, level: Level) -> IndexArray:
    """Return (W,) what residuals of a level are taken from the mean of."""
    return labels.context if level == "context" else labels.condition


def score_variances(
    contenders: Mapping[str, Wells], measured: Wells, level: Level, draws: Draws
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Return contender -> (G,) variance ratios, and contender -> (1 + D,) closeness of them to 1.

    Where no label has two wells, all is NaN.
    """
    weight = draws.of_wells(measured.labels)
    truth = variances(measured.values, label_of(measured.labels, level), weight)
    ratios, scores = {}, {}
    for name, wells in contenders.items():
        own = variances(wells.values, label_of(wells.labels, level), draws.of_wells(wells.labels))
        found = variance_ratios(own, truth)
        ratios[name], scores[name] = found[0], closeness(found)
    return ratios, scores


def _points(wells: Wells, context: int, centre: FloatArray, draws: Draws) -> PointSet:
    members = np.flatnonzero(wells.labels.context == context)
    labels = wells.labels.take(members)
    points = Points.of((wells.values[members] - centre).astype(np.float32))
    return PointSet(points, labels.condition, draws.of_wells(labels))


def measure_distances(
    contenders: Mapping[str, Wells], measured: Wells, draws: Draws
) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Return contender -> (1 + D,) E-distances and (1 + D,) discrepancies, means over the contexts."""
    found: dict[str, list[tuple[FloatArray, FloatArray]]] = {name: [] for name in contenders}
    for context in np.unique(measured.labels.context).tolist():
        centre = measured.values[measured.labels.context == context].mean(axis=0, dtype=np.float64)
        reference = Reference.of(_points(measured, context, centre, draws))
        for name, wells in contenders.items():
            if (wells.labels.context == context).any():
                found[name].append(distances(_points(wells, context, centre, draws), reference))
    return {
        name: (_known_mean([pair[0] for pair in pairs]), _known_mean([pair[1] for pair in pairs]))
        for name, pairs in found.items()
    }


def _known_mean(rows: list[FloatArray]) -> FloatArray:
    """Return (D,) means over contexts of what is not NaN."""
    stacked = np.stack(rows)
    known = ~np.isnan(stacked)
    count = known.sum(axis=0)
    mean = np.full(stacked.shape[1], np.nan)
    np.divide(np.where(known, stacked, 0.0).sum(axis=0), count, out=mean, where=count > 0)
    return mean


def score_distances(found: FloatArray, nothing: FloatArray) -> FloatArray:
    """Return (1 + D,) 1 - distance / distance of wells in which nothing happens.

    NaN throughout unless the latter is above 0 in all but 1 in 40 draws: there is no effect to tell then.
    """
    known = nothing[~np.isnan(nothing)]
    if not len(known) or not np.quantile(known, 0.025) > 0:
        return np.full(len(found), np.nan)
    return np.asarray(1.0 - found / np.where(nothing > 0, nothing, np.nan))


def score_correlations(
    contenders: Mapping[str, Wells], measured: Wells, level: Level, genes: IndexArray, draws: Draws
) -> dict[str, FloatArray]:
    """Return contender -> (1 + D,) agreements of its gene-gene correlations with the measured ones.

    Over the genes (g,) given; every draw resamples the contender and the truth together.
    """
    sides = {name: _Residuals.of(wells, level, genes) for name, wells in contenders.items()}
    truth = _Residuals.of(measured, level, genes)
    n_draws = len(draws.of_cluster)
    scores = {name: np.full(n_draws, np.nan) for name in contenders}
    if truth.is_empty:
        return scores
    for draw, counts in enumerate(draws.of_cluster):
        matrix = truth.correlations(counts)
        for name, side in sides.items():
            if not side.is_empty and not (draw and np.isnan(scores[name][0])):
                scores[name][draw] = agreement(side.correlations(counts), matrix)
    return scores


def shown_correlations(wells: Wells, level: Level, genes: IndexArray) -> FloatArray:
    """Return (g, g) correlations of some genes over all wells; all NaN where there are no residuals."""
    found = _Residuals.of(wells, level, genes)
    if found.is_empty:
        return np.full((len(genes), len(genes)), np.nan, dtype=np.float32)
    return found.correlations(np.ones(int(wells.labels.cluster.max()) + 1))


@dataclass(frozen=True)
class _Residuals:
    """Residuals of some genes, the pools whose mean is taken anew in every draw, and the clusters.

    A resampled perturbation brings whole conditions, whose means stay what they are: only those of contexts
    move.
    """

    values: FloatArray
    pool: IndexArray
    cluster: IndexArray
    is_empty: bool

    @classmethod
    def of(cls, wells: Wells, level: Level, genes: IndexArray) -> _Residuals:
        label = label_of(wells.labels, level)
        values = residuals(wells.values[:, genes], label)
        pool = label if level == "context" else np.zeros(len(label), dtype=np.int64)
        is_empty = len(np.unique(label)) == len(label) or len(genes) < 3
        return cls(values, pool, wells.labels.cluster, is_empty)

    def correlations(self, counts: FloatArray) -> FloatArray:
        """Return (g, g) with each cluster counted so often."""
        weight = counts[self.cluster].astype(np.float64)
        drawn = np.flatnonzero(weight)
        return correlations(self.values[drawn], self.pool[drawn], weight[drawn])
