"""From inner products to coefficients and shares, and from these to a kind of interaction.

The double is regressed on its singles as Norman et al. (2019) do; since the products are freed of noise, this
is the regression with errors in the variables (Fuller 1987), whose coefficients noise does not pull to zero.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertcast.analysis.association import LEVEL, FloatArray
from pertcast.analysis.epistasis.gram import EXCESS, FIRST, PAIR, SECOND

ADDITIVE: Final = "additive"
SYNERGY: Final = "synergy"
SUPPRESSION: Final = "suppression"
NEOMORPHISM: Final = "neomorphism"
UNRESOLVED: Final = "unresolved"
KINDS: Final = (ADDITIVE, SYNERGY, SUPPRESSION, NEOMORPHISM, UNRESOLVED)

SMALLEST_EXCESS: Final = 0.2
"""Relative excess below which a pair is additive: c between 0.75 and 1.33 where nothing else differs."""

SIGNIFICANT: Final = 0.05

_KEPT_ERRORS: Final = 3.0
_TINY: Final = 1e-12


@dataclass(frozen=True)
class Coefficients:
    """Arrays of one shape: one value a pair, or one a draw; NaN where undefined.

    Attributes
    ----------
    c
        Projection of the double on the sum of the singles: <d, A> / |A|^2.
    c1, c2
        Coefficients of the two singles.
    excess
        |d - A|, the length of the excess, in the response's unit summed over genes.
    relative_excess
        |d - A| / sqrt(|d|^2 + |A|^2): 0 additive; the same for c and for 1 / c.
    outside_share
        Share of |d|^2 outside the span of the singles: the neomorphic share; 1 - R2 of the regression.
    outside_of_excess
        Share of the squared excess outside the span.
    dominance
        |log10(|c1| / |c2|)|: 0 where both singles count alike.
    similarity
        Cosine of the singles.
    """

    c: FloatArray
    c1: FloatArray
    c2: FloatArray
    excess: FloatArray
    relative_excess: FloatArray
    outside_share: FloatArray
    outside_of_excess: FloatArray
    dominance: FloatArray
    similarity: FloatArray

    def bounds(self) -> dict[str, tuple[float, float]]:
        """Return name -> percentile bounds over draws; NaN where there is no bound.

        A draw where a value is undefined lies beyond both bounds.
        """
        found = {}
        for field in fields(self):
            draws = getattr(self, field.name)
            beyond = [np.where(np.isnan(draws), end, draws) for end in (-np.inf, np.inf)]
            low = float(np.quantile(beyond[0], (1 - LEVEL) / 2, method="lower"))
            high = float(np.quantile(beyond[1], (1 + LEVEL) / 2, method="higher"))
            found[field.name] = (low if np.isfinite(low) else np.nan, high if np.isfinite(high) else np.nan)
        return found


@dataclass(frozen=True)
class Span:
    """Which directions the singles' responses credibly have.

    Attributes
    ----------
    n_directions
        0, 1 or 2: a single without a credible response, or one like the other, adds none.
    sum_is_known
        Whether the sum of the singles credibly has a length, so that c is defined.
    double_is_known
        Whether the pair's response credibly has a length, so that shares of it are defined.
    """

    n_directions: int
    sum_is_known: bool
    double_is_known: bool


def _ratio(upper: FloatArray, lower: FloatArray) -> FloatArray:
    result = np.full(np.shape(upper), np.nan)
    np.divide(upper, lower, out=result, where=lower > _TINY)
    return result


def span_of_singles(products: FloatArray, draws: FloatArray) -> Span:
    """Say which directions and responses exceed three standard errors of their squared length.

    Parameters
    ----------
    products
        (3, 3) inner products.
    draws
        (n_draws, 3, 3) resampled.
    """
    values, vectors = np.linalg.eigh(products[1:, 1:])
    scale = max(float(values[-1]), 0.0)
    lengths = np.einsum("ik,nij,jk->nk", vectors, draws[:, 1:, 1:], vectors)
    errors = lengths.std(axis=0)
    known = values > np.maximum(_KEPT_ERRORS * errors, 1e-9 * scale)
    trace = float(np.trace(products))

    def is_known(weights: FloatArray) -> bool:
        length = float(weights @ products @ weights)
        error = float(np.einsum("i,nij,j->n", weights, draws, weights).std())
        return length > max(_KEPT_ERRORS * error, 1e-9 * trace, _TINY)

    return Span(
        n_directions=int(known.sum()),
        sum_is_known=is_known(np.array([0.0, 1.0, 1.0])),
        double_is_known=is_known(np.array([1.0, 0.0, 0.0])),
    )


def _inverse(singles: FloatArray, n_directions: int) -> FloatArray:
    """Return (N, 2, 2) inverses of the singles' products on their first `n_directions` directions."""
    values, vectors = np.linalg.eigh(singles)
    floor = np.maximum(_TINY, 1e-6 * np.abs(values[:, 1:]))
    inverted = 1.0 / np.maximum(values, floor)
    inverted[:, : 2 - n_directions] = 0.0
    found: FloatArray = np.einsum("nik,nk,njk->nij", vectors, inverted, vectors)
    return found


def coefficients(products: FloatArray, span: Span) -> Coefficients:
    """Return what (N, 3, 3) inner products of (pair, first, second) say.

    Parameters
    ----------
    products
        Of one pair, once or resampled.
    span
        The directions that its singles have; with one, c1 and c2 are the shortest coefficients.
    """
    double = products[:, PAIR, PAIR]
    along = products[:, PAIR, 1:]
    sum_square = products[:, 1:, 1:].sum(axis=(1, 2))
    excess_square = np.einsum("i,nij,j->n", EXCESS, products, EXCESS)
    both = np.einsum("nij,nj->ni", _inverse(products[:, 1:, 1:], span.n_directions), along)
    if not span.n_directions:
        both = np.full_like(both, np.nan)
    inside = np.nan_to_num((both * along).sum(axis=1))
    outside = np.maximum(double - inside, 0.0)
    first, second = products[:, FIRST, FIRST], products[:, SECOND, SECOND]
    undefined = np.full(len(products), np.nan)
    c = _ratio(along.sum(axis=1), sum_square) if span.sum_is_known else undefined
    outside_share = np.clip(_ratio(outside, double), 0.0, 1.0) if span.double_is_known else undefined
    with np.errstate(divide="ignore", invalid="ignore"):
        dominance = np.abs(np.log10(np.abs(both[:, 0]) / np.abs(both[:, 1])))
    return Coefficients(
        c=c,
        c1=both[:, 0],
        c2=both[:, 1],
        excess=np.sqrt(np.maximum(excess_square, 0.0)),
        relative_excess=np.sqrt(
            np.clip(np.nan_to_num(_ratio(excess_square, double + np.maximum(sum_square, 0.0))), 0.0, 2.0)
        ),
        outside_share=outside_share,
        outside_of_excess=np.clip(_ratio(outside, excess_square), 0.0, 1.0),
        dominance=np.where(np.isfinite(dominance), dominance, np.nan),
        similarity=np.clip(
            _ratio(products[:, FIRST, SECOND], np.sqrt(np.maximum(first, 0) * np.maximum(second, 0))), -1, 1
        ),
    )


def kind_of(
    value: dict[str, float],
    bounds: dict[str, tuple[float, float]],
    is_interacting: NDArray[np.bool_] | bool,
) -> str:
    """Return the kind of one pair.

    Neomorphism where most of the excess is outside the span of the singles and the share outside is credibly
    above 0; else synergy or suppression where c is credibly above or below 1; else neomorphism where the
    share alone is credible; else unresolved.

    Parameters
    ----------
    value, bounds
        Name of a coefficient -> its value, and its interval.
    is_interacting
        Whether its excess is significant and not small.
    """
    if not is_interacting:
        return ADDITIVE
    is_outside = bounds["outside_share"][0] > 0
    if is_outside and value["outside_of_excess"] >= 0.5:
        return NEOMORPHISM
    low, high = bounds["c"]
    if low > 1:
        return SYNERGY
    if high < 1:
        return SUPPRESSION
    return NEOMORPHISM if is_outside else UNRESOLVED
