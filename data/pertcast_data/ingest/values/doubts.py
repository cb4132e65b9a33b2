"""Whether values keep what their normalisation promises; what is odd but possible is a warning with figures.

What is impossible (counts with fractions, negative logarithms) is refused in `normalisation`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import sparse

from pertcast_data.readers.source import ProfileBatch
from pertcast_data.vocabulary import Normalisation

LOG_CEILING: Final = 25.0
"""No logarithm of an expression level is larger: 2^25 and e^25 are beyond every instrument."""

LOG_BASES: Final = (math.e, 2.0, 10.0)

_WHOLE_TRANSCRIPTOME: Final = 10_000
"""With as many genes, sums of profiles tell whether they were brought to one total."""

_CONSTANT_SPREAD: Final = 0.02
_LARGE_SPREAD: Final = 0.2
_EXACT_IN_FLOAT32: Final = 2**24
_LARGE_COUNT: Final = 1e4
_SPARSE_SHARE: Final = 0.5
_OFF_CENTRE: Final = 0.5
_LOW_INTENSITY: Final = 1.0


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums of profiles before their logarithm.

    Attributes
    ----------
    low, median, high
        5th, 50th and 95th percentile.
    """

    low: float
    median: float
    high: float

    @property
    def spread(self) -> float:
        """(high - low) / median; 0 where every profile has the same sum."""
        return (self.high - self.low) / self.median if self.median else 0.0


@dataclass(frozen=True, slots=True)
class ValueSummary:
    """Facts of a sample of profiles.

    Attributes
    ----------
    minimum, maximum
        Of all values (0 counts where a sparse matrix leaves values out).
    median
        Of the values that are not zero.
    share_of_zeros
        0..1.
    are_whole
        Whether every value is a whole number.
    mean, sd
        Of all values, zeros among them.
    n_genes
        Genes of a profile.
    totals
        Base of a logarithm (e, 2 or 10) -> sums of the profiles before log(x + 1) to that base; empty where
        values are negative or too large for logarithms.
    """

    minimum: float
    maximum: float
    median: float
    share_of_zeros: float
    are_whole: bool
    mean: float = 0.0
    sd: float = 0.0
    n_genes: int = 0
    totals: Mapping[float, Totals] = field(default_factory=dict)


def totals_before_log(batch: ProfileBatch, base: float) -> npt.NDArray[np.float64]:
    """Return the sum of base^x - 1 over the genes of each profile, (n,); values above the ceiling are cut."""
    factor = math.log(base)
    if sparse.issparse(batch):
        matrix: Any = batch
        levels = matrix.copy().astype(np.float64)
        levels.data = np.expm1(np.clip(levels.data, None, LOG_CEILING) * factor)
        return np.asarray(levels.sum(axis=1), np.float64).ravel()
    dense = np.clip(np.asarray(batch, np.float64), None, LOG_CEILING)
    return np.asarray(np.expm1(dense * factor).sum(axis=1), np.float64)


def spread_of(sums: npt.NDArray[np.float64]) -> Totals:
    """Return percentiles of the sums of profiles; empty profiles are left out."""
    filled = sums[np.isfinite(sums) & (sums > 0)]
    if not len(filled):
        return Totals(0.0, 0.0, 0.0)
    low, median, high = np.percentile(filled, (5, 50, 95))
    return Totals(float(low), float(median), float(high))


def value_doubts(summary: ValueSummary, normalisation: Normalisation, is_declared: bool) -> list[str]:
    """Return what is odd about values of a normalisation.

    Parameters
    ----------
    summary
        Facts of a sample of profiles .
    normalisation
        What they are.
    is_declared
        Whether the user said so; else it was told from the values.
    """
    said = f"values are {'declared' if is_declared else 'taken'} as {normalisation}"
    doubts = {
        "counts": _counts,
        "log1p_cpm": _log1p,
        "log2_intensity": _intensity,
        "z_score": _centred,
        "log_fold_change": _centred,
    }[normalisation](summary)
    return [f"{said}, but {doubt}" for doubt in doubts]


def _counts(summary: ValueSummary) -> list[str]:
    if summary.maximum >= _EXACT_IN_FLOAT32:
        return [
            f"they go up to {summary.maximum:,.0f}: whole numbers above {_EXACT_IN_FLOAT32:,} are not kept "
            "exactly, and intensities or sums of profiles are no counts"
        ]
    if summary.median > _LARGE_COUNT:
        return [
            f"half of those that are not zero are above {summary.median:,.0f}: these look like intensities. "
            "Bring their logarithms (log2_intensity)"
        ]
    return []


def _log1p(summary: ValueSummary) -> list[str]:
    own = summary.totals.get(math.e)
    if own is None or own.spread <= _CONSTANT_SPREAD:
        return []
    for base in LOG_BASES[1:]:
        other = summary.totals[base]
        if other.median and other.spread <= min(_CONSTANT_SPREAD, own.spread / 4):
            return [
                f"profiles have one total ({other.median:,.0f}) only where the logarithm is taken to base "
                f"{base:g}: bring natural logarithms (multiply by {math.log(base):.4f})"
            ]
    if summary.n_genes < _WHOLE_TRANSCRIPTOME or own.spread <= _LARGE_SPREAD:
        return []
    return [
        f"before the logarithm profiles sum to {own.low:,.0f} to {own.high:,.0f} (5th to 95th percentile, "
        f"median {own.median:,.0f}) over {summary.n_genes:,} genes, not to one total: they were not scaled, "
        "were corrected, or genes were left out"
    ]


def _intensity(summary: ValueSummary) -> list[str]:
    if summary.share_of_zeros > _SPARSE_SHARE:
        return [
            f"{summary.share_of_zeros:.0%} of them are zero: these look like logarithms of counts (log1p_cpm)"
        ]
    if summary.median < _LOW_INTENSITY:
        return [f"half of them are below {summary.median:.2g}: these look like fractions or ratios"]
    return []


def _centred(summary: ValueSummary) -> list[str]:
    if summary.sd and abs(summary.mean) > _OFF_CENTRE * summary.sd:
        return [
            f"they are not centred: mean {summary.mean:.3g}, standard deviation {summary.sd:.3g}. Levels "
            "need `measure: expression` and their own normalisation"
        ]
    return []
