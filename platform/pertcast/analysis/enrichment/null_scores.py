"""The scores of random sets of one size in a block of profiles: how many, how large, how likely exceeded.

Positive and negative scores are two distributions (Subramanian et al. 2005). Their extreme tenth is continued
by a smooth tail, so that p does not end at one over the number of draws (Knijnenburg et al. 2009).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_TAIL_SHARE: Final = 10
"""One in so many scores of a sign belongs to the tail."""
_FEWEST_IN_TAIL: Final = 10
"""With fewer no tail is fitted, and p is the share of scores that are as extreme."""
_SMALLEST_P: Final = 1e-30
_ROW: Final = 4.0
"""Profiles are kept apart by so much; scores lie between -1 and 1."""
_LARGEST: Final = 1.5
"""A larger score is compared as this, which is more than any score."""


@dataclass(frozen=True)
class Tail:
    """The most extreme scores of one sign in each of B profiles, as sizes; (B,) each.

    Attributes
    ----------
    count
        Scores in the tail; 0 where none is fitted.
    start
        The smallest of them.
    p
        Share of scores in the tail, (count + 1) / (n + 1).
    scale, shape
        Of the generalised Pareto distribution of what exceeds `start`, by moments.
    square
        Mean excess of squares over the square of `start`.
    """

    count: NDArray[np.int64]
    start: Floats
    p: Floats
    scale: Floats
    shape: Floats
    square: Floats

    @classmethod
    def of(cls, largest: Floats, n: NDArray[np.int64]) -> Tail:
        """Fit the tails of n scores each, given at least the largest tenth of them (B, M), falling."""
        wanted = n // _TAIL_SHARE
        count = np.where(wanted >= _FEWEST_IN_TAIL, wanted, 0)
        start = np.take_along_axis(largest, np.maximum(count - 1, 0)[:, None], axis=1)
        is_in_tail = np.arange(largest.shape[1]) < count[:, None]
        some = np.maximum(count, 1)
        excess = np.where(is_in_tail, largest - start, 0.0)
        mean = excess.sum(axis=1) / some
        variance = np.maximum((excess * excess).sum(axis=1) / some - mean * mean, 1e-12)
        ratio = mean * mean / variance
        square = np.where(is_in_tail, largest * largest - start * start, 0.0).sum(axis=1) / some
        return cls(
            count=count,
            start=start[:, 0],
            p=(count + 1) / (n + 1),
            scale=np.maximum(0.5 * mean * (ratio + 1), 1e-12),
            shape=0.5 * (1 - ratio),
            square=np.maximum(square, 1e-12),
        )


@dataclass(frozen=True)
class NullScores:
    """Scores of D random sets in each of B profiles.

    Attributes
    ----------
    rising
        (B * D,) float64, scores rising, 4 times the number of the profile added. Exact: a float32 score that
        is not zero is at least 1 / 2K of a set of K.
    n
        (2, B) negative and positive scores.
    mean
        (2, B) mean size of them; NaN where there is none.
    tails
        Of negative and of positive scores.
    """

    rising: Floats
    n: NDArray[np.int64]
    mean: Floats
    tails: tuple[Tail, Tail]

    @classmethod
    def of(cls, scores: NDArray[np.float32]) -> NullScores:
        """Sort scores (D, B) and fit their tails."""
        ordered = np.ascontiguousarray(scores.T)
        ordered.sort(axis=1)
        n_profiles, n_draws = ordered.shape
        rows = np.arange(n_profiles)
        rising = (ordered + _ROW * rows[:, None]).reshape(-1)
        negative = np.searchsorted(rising, _ROW * rows) - n_draws * rows
        positive = n_draws * (rows + 1) - np.searchsorted(rising, _ROW * rows, side="right")
        n = np.stack([negative, positive])
        sums = np.stack([-np.minimum(ordered, 0).sum(axis=1), np.maximum(ordered, 0).sum(axis=1)])
        mean = np.where(n > 0, sums / np.maximum(n, 1), np.nan)
        most = n_draws // _TAIL_SHARE + 1
        largest = (-ordered[:, :most], ordered[:, : -most - 1 : -1])
        low, high = (Tail.of(part.astype(np.float64), count) for part, count in zip(largest, n, strict=True))
        return cls(rising, n, mean, (low, high))

    def mean_of(self, is_positive: NDArray[np.bool_]) -> Floats:
        """Return (B, S) mean size of scores of the given signs."""
        return _of_sign(self.mean[0], self.mean[1], is_positive)

    def p_of(self, sizes: Floats, is_positive: NDArray[np.bool_]) -> Floats:
        """Return the share of scores of the same sign that are as extreme as given ones.

        (b + 1) / (n + 1) for b of n scores; in the tail its share times the mean of two survival functions
        of the excess, a generalised Pareto distribution, which follows the scores but ends, and an
        exponential distribution of squares, which does not end (as of the Kolmogorov statistic).

        Parameters
        ----------
        sizes
            (B, S) absolute scores.
        is_positive
            (B, S) their signs.

        Returns
        -------
        ndarray
            (B, S); NaN where there is no score of that sign, or `sizes` is NaN.
        """
        n = _of_sign(self.n[0], self.n[1], is_positive)
        beyond = self._beyond(sizes, is_positive)
        low, high = self.tails
        count = _of_sign(low.count, high.count, is_positive)
        start = _of_sign(low.start, high.start, is_positive)
        scale = _of_sign(low.scale, high.scale, is_positive)
        shape = _of_sign(low.shape, high.shape, is_positive)
        excess = np.maximum(sizes - start, 0.0)
        ending = _pareto_survival(excess / scale, shape)
        squares = np.maximum(sizes * sizes - start * start, 0.0)
        endless = np.exp(-squares / _of_sign(low.square, high.square, is_positive))
        tail = _of_sign(low.p, high.p, is_positive) * 0.5 * (ending + endless)
        p = np.where(beyond < count, np.maximum(tail, _SMALLEST_P), (beyond + 1) / (n + 1))
        return np.where((n > 0) & np.isfinite(sizes), p, np.nan)

    def _beyond(self, sizes: Floats, is_positive: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return (B, S) number of scores of the same sign that are as extreme."""
        n_profiles = sizes.shape[0]
        n_draws = len(self.rising) // n_profiles
        known = np.minimum(np.nan_to_num(sizes), _LARGEST).astype(np.float32)
        # Those below a positive score; those up to and with a negative one, so below the next number.
        limit = np.where(is_positive, known, np.nextafter(-known, np.float32(1)))
        rows = np.arange(n_profiles)[:, None]
        below = np.searchsorted(self.rising, limit + _ROW * rows) - rows * n_draws
        beyond: NDArray[np.int64] = np.where(is_positive, n_draws - below, below)
        return beyond


def _pareto_survival(excess: Floats, shape: Floats) -> Floats:
    """Return the generalised Pareto survival of excesses in units of their scale."""
    is_bent = np.abs(shape) > 1e-6
    bend = np.where(is_bent, shape, 1.0)
    inside = np.maximum(1 + bend * excess, 0.0)
    with np.errstate(divide="ignore", over="ignore"):
        bent = inside ** (-1 / bend)
    return np.where(is_bent, bent, np.exp(-excess))


def _of_sign(negative: NDArray[Any], positive: NDArray[Any], is_positive: NDArray[np.bool_]) -> NDArray[Any]:
    """Return of each profile (B,) the value of each score's sign, (B, S)."""
    return np.where(is_positive, positive[:, None], negative[:, None])
