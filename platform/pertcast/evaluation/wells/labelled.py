"""Wells with what they belong to, and the wells that are compared: thinned out and dealt into halves.

One half stands for a repeated experiment: a model gives one well for each of its wells, and both are
compared with the other half.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from pertcast_data.errors import SchemaError

from pertcast.evaluation.ceilings.ceiling import halve
from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.units import add_by_label

MOST_OF_CONDITION: Final = 10
"""Wells of a condition that are compared, at most."""

MOST_OF_CONTEXT: Final = 600
"""Wells of a context that are compared, at most, both halves together; whole conditions are left out."""

MOST_WELLS: Final = 4_000
"""Wells that are compared, at most, over all contexts."""


@dataclass(frozen=True)
class WellLabels:
    """What W wells belong to.

    Attributes
    ----------
    context
        (W,) cell line, 0..K-1.
    condition
        (W,) held-out condition.
    cluster
        (W,) held-out perturbation: what is resampled.
    """

    context: IndexArray
    condition: IndexArray
    cluster: IndexArray

    def __post_init__(self) -> None:
        shapes = {name: getattr(self, name).shape for name in ("context", "condition", "cluster")}
        if len(set(shapes.values())) > 1 or len(self.context.shape) != 1:
            raise SchemaError(f"Labels of wells have shapes {shapes}; give one of each for every well.")

    def __len__(self) -> int:
        return len(self.context)

    def take(self, index: IndexArray) -> WellLabels:
        """Return the labels of the wells at `index`."""
        return replace(
            self,
            context=self.context[index],
            condition=self.condition[index],
            cluster=self.cluster[index],
        )


@dataclass(frozen=True)
class Wells:
    """W wells: their (W, G) float32 responses and labels.

    Raises
    ------
    SchemaError
        Responses and labels are not of the same wells, or a response is not finite.
    """

    values: FloatArray
    labels: WellLabels

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or len(self.values) != len(self.labels):
            raise SchemaError(
                f"Responses of wells have shape {self.values.shape}, wanted ({len(self.labels)}, genes): one "
                "row for each labelled well."
            )
        if not np.isfinite(self.values).all():
            well, gene = (int(i) for i in np.argwhere(~np.isfinite(self.values))[0])
            raise SchemaError(
                f"The response of well {well} is not finite for gene number {gene}; a well needs a value for "
                "every gene."
            )


def residuals(values: FloatArray, label: IndexArray) -> FloatArray:
    """Return (W, G) float32 values minus the mean of their label."""
    distinct, place = np.unique(label, return_inverse=True)
    sums = np.zeros((len(distinct), values.shape[1]))
    add_by_label(sums, place.astype(np.int64), values)
    means = sums / np.bincount(place, minlength=len(distinct))[:, None]
    found: FloatArray = (values - means[place]).astype(np.float32)
    return found


@dataclass(frozen=True)
class DealtWells:
    """Which wells are compared.

    Attributes
    ----------
    first
        Wells that a contender gives one well each for; themselves the contender "measured halves".
    second
        Wells that all are compared with.
    are_halves
        Whether the two share no well; both hold all chosen wells where there are too few replicates.
    remarks
        Sentences about what was thinned out.
    """

    first: IndexArray
    second: IndexArray
    are_halves: bool
    remarks: tuple[str, ...]


def deal_wells(labels: WellLabels, fewest: int, seed: int = 0) -> DealtWells:
    """Choose the wells that are compared, and deal each condition's replicates into two halves.

    Of an odd number of replicates the second half gets one more. A condition with a single well is in
    neither half.

    Parameters
    ----------
    labels
        Of all W held-out wells.
    fewest
        Wells beyond the first of their context that a half needs.
    seed
        Of the draws and of the deal.
    """
    chosen, remarks = _thinned(labels, seed)
    half = halve(labels.condition[chosen], seed)
    first, second = chosen[half == 1], chosen[half == 0]
    if len(first) - len(np.unique(labels.context[first])) >= fewest:
        return DealtWells(first, second, True, remarks)
    alone = (
        "Too few conditions have replicates to be halved: there is no ceiling and no scale for distances, "
        "and every well is used."
    )
    return DealtWells(chosen, chosen, False, (*remarks, alone))


def _thinned(labels: WellLabels, seed: int) -> tuple[IndexArray, tuple[str, ...]]:
    """Return the wells that are kept, ascending, and what was left out in words."""
    generator = np.random.default_rng(seed)
    order = np.lexsort((generator.random(len(labels)), labels.condition))
    condition, place, count = np.unique(labels.condition[order], return_inverse=True, return_counts=True)
    starts = np.cumsum(count) - count
    within = order[np.arange(len(order)) - starts[place] < MOST_OF_CONDITION]
    n_contexts = len(np.unique(labels.context))
    most = max(2 * MOST_OF_CONDITION, min(MOST_OF_CONTEXT, MOST_WELLS // n_contexts))
    context = labels.context[order[starts]]
    kept = _fitting(context, np.minimum(count, MOST_OF_CONDITION), most, generator)
    chosen = np.sort(within[np.isin(labels.condition[within], condition[kept])]).astype(np.int64)
    if len(chosen) == len(labels):
        return chosen, ()
    return chosen, (
        f"{len(chosen):,} of {len(labels):,} held-out wells are compared: at most {MOST_OF_CONDITION} of a "
        f"condition and {most:,} of a cell line, drawn by the seed.",
    )


def _fitting(context: IndexArray, count: IndexArray, most: int, generator: np.random.Generator) -> IndexArray:
    """Return conditions, drawn within their context, whose wells number at most `most` a context."""
    order = np.lexsort((generator.random(len(context)), context))
    total = np.cumsum(count[order])
    starts = np.flatnonzero(np.r_[True, np.diff(context[order]) != 0])
    before = np.repeat(total[starts] - count[order][starts], np.diff(np.r_[starts, len(order)]))
    kept: IndexArray = order[total - before <= most]
    return kept
