"""What replicates reach: one half of a condition's rows as the prediction of the other half.

Controls are split as well, so that the two halves share no measurement. The dynamic range fraction of
a metric, (duplicate - mean) / (perfect - mean), says how far it can tell a good prediction from the mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from pertcast.evaluation.held_out import FloatArray, HeldOut, IndexArray
from pertcast.evaluation.metrics import get_metric, metrics_of_level
from pertcast.evaluation.score_board import score_conditions

RELIABLE_FRACTION: Final = 0.1
"""Metrics with a smaller dynamic range fraction are greyed out: they cannot rank models on this data."""


@dataclass(frozen=True)
class SplitHalves:
    """Responses of the conditions that have replicates, from two disjoint halves of their rows.

    Attributes
    ----------
    index
        (H,) which held-out conditions.
    first, second
        (H, G) responses from one half and from the other, each against its own half of the controls.
    """

    index: IndexArray
    first: FloatArray
    second: FloatArray


def halve(labels: IndexArray, seed: int = 0) -> IndexArray:
    """Deal the rows of each label into halves 0 and 1 at random; a label's halves differ by at most one row.

    Parameters
    ----------
    labels
        (M,) what a row belongs to; -1 for rows that are not dealt.
    seed
        Seed of the deal.

    Returns
    -------
    IndexArray
        (M,) 0 or 1; -1 for rows of label -1 and for labels with a single row.
    """
    generator = np.random.default_rng(seed)
    order = np.lexsort((generator.random(len(labels)), labels))
    ordered = labels[order]
    starts = (
        np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(labels) else np.empty(0, np.int64)
    )
    counts = np.diff(np.r_[starts, len(labels)])
    position = np.arange(len(labels)) - np.repeat(starts, counts)
    halves = np.where(np.repeat(counts, counts) > 1, position % 2, -1)
    result = np.empty(len(labels), dtype=np.int64)
    result[order] = np.where(ordered < 0, -1, halves)
    return result


def score_ceiling(halves: SplitHalves, held: HeldOut) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Score the first half, and the training mean, against the second half.

    Returns
    -------
    tuple
        Metric -> (N,) scores of the duplicate, and of the training mean; NaN for conditions without halves.
    """
    part = held.take(halves.index, truth=halves.second)
    duplicate = score_conditions(halves.first, part, "split half")
    mean = score_conditions(part.train_means(slice(None)), part, "training mean")

    def spread(scores: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        whole = {name: np.full(held.n_conditions, np.nan) for name in scores}
        for name, values in scores.items():
            whole[name][halves.index] = values
        return whole

    return spread(duplicate), spread(mean)


def dynamic_range(duplicate: Mapping[str, FloatArray], mean: Mapping[str, FloatArray]) -> dict[str, float]:
    """Return metric -> (duplicate - mean) / (perfect - mean), on means over conditions; NaN where undefined.

    An undefined score of the training mean counts as the metric's uninformative value.
    """
    fractions = {}
    for metric in metrics_of_level("condition"):
        if metric.name not in duplicate:
            continue
        has_halves = ~np.isnan(duplicate[metric.name])
        reference = mean[metric.name]
        if metric.uninformative is not None:
            reference = np.where(np.isnan(reference), metric.uninformative, reference)
        best = get_metric(metric.name).best
        reached = float(duplicate[metric.name][has_halves].mean()) if has_halves.any() else np.nan
        bottom = float(reference[has_halves].mean()) if has_halves.any() else np.nan
        room = best - bottom
        fractions[metric.name] = (reached - bottom) / room if room != 0 else float("nan")
    return fractions
