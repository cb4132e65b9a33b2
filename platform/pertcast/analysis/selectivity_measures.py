"""Measures of how far one cell line stands out of a perturbation's others, of many perturbations at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError
from pertcast_data.reading import ProfileReader

_MIN_OTHERS_FOR_Z: Final = 3


@dataclass(frozen=True, slots=True)
class Contexts:
    """Some perturbations in their cell lines, (B, C); the unused places at a line's end are NaN and -1."""

    effect: NDArray[np.float64]
    cell: NDArray[np.int64]
    row: NDArray[np.int64]

    @property
    def count(self) -> NDArray[np.int64]:
        """Cell lines of each perturbation."""
        count: NDArray[np.int64] = np.count_nonzero(self.row >= 0, axis=1)
        return count


def excess_of_strongest(contexts: Contexts) -> NDArray[np.float64]:
    """Return (B,) the largest effect less the median of the others."""
    strongest = np.nanargmax(contexts.effect, axis=1)
    largest = contexts.effect[np.arange(len(strongest)), strongest]
    excess: NDArray[np.float64] = largest - median_of_others(contexts, strongest)[0]
    return excess


def median_of_others(
    contexts: Contexts, strongest: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return median and median absolute deviation of all but one; no deviation below three."""
    others, n_others = contexts.effect.copy(), contexts.count - 1
    others[np.arange(len(strongest)), strongest] = np.nan
    median = _median(others, n_others)
    deviation = _median(np.abs(others - median[:, None]), n_others)
    return median, np.where(n_others < _MIN_OTHERS_FOR_Z, np.nan, deviation)


def _median(values: NDArray[np.float64], count: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the median of each line's `count` numbers; NaN sort behind them."""
    ordered, lines = np.sort(values, axis=1), np.arange(len(values))
    middle: NDArray[np.float64] = (ordered[lines, (count - 1) // 2] + ordered[lines, count // 2]) / 2
    return middle


def quotient(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide; NaN where there is nothing to divide by."""
    ratio: NDArray[np.float64] = np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
    return ratio


def specificity(values: NDArray[np.float64], count: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the tissue-specificity index of each line; NaN where nothing responds."""
    largest = np.max(np.where(np.isnan(values), 0, values), axis=1)
    share = quotient(np.nansum(values, axis=1), largest)
    index: NDArray[np.float64] = (count - share) / (count - 1)
    return index


def mean_cosine(contexts: Contexts, read: ProfileReader) -> NDArray[np.float64]:
    """Return the mean cosine over pairs of cell lines, from the length of the sum of unit profiles.

    |sum of n unit profiles|^2 is n + 2 * (sum of the cosines of pairs): no pair is formed.
    """
    total: NDArray[np.float64] | None = None
    count = np.zeros(len(contexts.row))
    for cell in np.unique(contexts.cell[contexts.row >= 0]):
        line, place = np.nonzero((contexts.cell == cell) & (contexts.row >= 0))
        rows = contexts.row[line, place]
        rising = np.argsort(rows, kind="stable")
        line, rows = line[rising], rows[rising]
        profiles = read(rows).astype(np.float64)
        length = np.sqrt(np.square(profiles).sum(axis=1))
        if not np.isfinite(length).all():
            row = rows[int(np.flatnonzero(~np.isfinite(length))[0])]
            raise SchemaError(f"Profile {row} holds values that are not finite. Run the screen again.")
        profiles /= np.where(length > 0, length, 1)[:, None]
        total = np.zeros((len(count), profiles.shape[1])) if total is None else total
        total[line] += profiles
        count[line] += length > 0
    assert total is not None, "a block has at least one perturbation"
    pairs = count * (count - 1)
    mean = quotient(np.square(total).sum(axis=1) - count, pairs)
    clipped: NDArray[np.float64] = np.clip(mean, -1, 1)
    return clipped
