"""How a gene set's score in one profile stands among its scores in the whole screen.

Median and spread of a set are exact and are taken a set at a time, so that scores need not fit in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_MAD_TO_SD: Final = 1.4826
_MIN_PROFILES_FOR_Z: Final = 10


@dataclass(frozen=True)
class ScreenCentre:
    """Median and spread of each of S gene sets' scores over a screen.

    Attributes
    ----------
    median
        (S,) float64; NaN where no profile has a score.
    spread
        (S,) float64, 1.4826 times the median absolute deviation; NaN where it is zero or unknown, or where
        the screen has fewer than 10 profiles.
    """

    median: NDArray[np.float64]
    spread: NDArray[np.float64]

    @classmethod
    def of(cls, column: Callable[[int], NDArray[np.floating]], n_sets: int) -> ScreenCentre:
        """Take the centre of scores that are read a set at a time.

        Parameters
        ----------
        column
            Given the number of a set, its scores (N,) in all profiles; NaN where a profile has none.
        n_sets
            S.
        """
        median, spread = np.full(n_sets, np.nan), np.full(n_sets, np.nan)
        for number in range(n_sets):
            scores = np.asarray(column(number), dtype=np.float64)
            known = scores[np.isfinite(scores)]
            if len(scores) < _MIN_PROFILES_FOR_Z or not len(known):
                continue
            median[number] = np.median(known)
            deviation = _MAD_TO_SD * np.median(np.abs(known - median[number]))
            spread[number] = deviation if deviation > 0 else np.nan
        return cls(median, spread)

    def z(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return (score - median) / spread of some profiles' scores (n, S); NaN where there is no spread."""
        result: NDArray[np.float64] = (scores.astype(np.float64) - self.median) / self.spread
        return result


def screen_z(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Compare each score with the same set's scores over the screen.

    (ES - median) / (1.4826 MAD), a set at a time: gene permutation ignores that genes are correlated, the
    rest of the screen does not. For scores that do not fit in memory: `ScreenCentre`.

    Parameters
    ----------
    scores
        (N, S) enrichment scores.

    Returns
    -------
    ndarray
        (N, S) float64; NaN for sets without spread and for screens of fewer than 10 profiles.
    """
    return ScreenCentre.of(lambda number: scores[:, number], scores.shape[1]).z(scores)
