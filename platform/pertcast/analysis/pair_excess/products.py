"""Lengths, coefficients and shares of pairs and their singles, a block of predictions at a time.

The same quantities as of measured pairs (`analysis.epistasis.kinds`), of responses without noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

ROUNDING: Final = 1e-4
"""Length of an excess relative to its three responses that single precision leaves of nothing."""
COLLINEAR: Final = 1e-6
"""Ratio of the two squared lengths (eigenvalues) of the singles below which they are one direction."""
_KNOWN: Final = 1e-9
"""Share of all squared lengths below which a response has none."""


@dataclass(frozen=True)
class PairProducts:
    """(M,) float64 each; NaN where undefined. Sizes are root mean squares over the genes that count.

    Attributes
    ----------
    first_size, second_size, additive_size, excess_size
        Of the singles, of their sum, and of the pair minus their sum; the last is 0 up to rounding.
    relative_excess
        |E| / sqrt(|d|^2 + |A|^2), as of measured pairs.
    excess_share
        |E|^2 / (|E|^2 + |A|^2), between 0 and 1.
    additive_cosine, similarity
        Cosine of the pair with the sum, and of the singles with each other.
    c, c1, c2
        Projection of the pair on the sum, and its regression on the singles (Norman et al. 2019).
    fit_r2
        Share of the pair's squared length within the span of the singles.
    outside_of_excess
        Share of the excess' squared length outside that span.
    """

    first_size: FloatArray
    second_size: FloatArray
    additive_size: FloatArray
    excess_size: FloatArray
    relative_excess: FloatArray
    excess_share: FloatArray
    additive_cosine: FloatArray
    similarity: FloatArray
    c: FloatArray
    c1: FloatArray
    c2: FloatArray
    fit_r2: FloatArray
    outside_of_excess: FloatArray


def pair_products(
    pair: FloatArray, first: FloatArray, second: FloatArray, n_genes: FloatArray
) -> tuple[PairProducts, FloatArray]:
    """Return the quantities of a block of pairs, and their (M, G) excess.

    Parameters
    ----------
    pair, first, second
        (M, G) responses, 0 at genes that do not count.
    n_genes
        (M,) genes that count.
    """
    additive = first + second
    excess = pair - additive
    dd, aa, bb = _dot(pair, pair), _dot(first, first), _dot(second, second)
    ss, ee, ab = _dot(additive, additive), _dot(excess, excess), _dot(first, second)
    da, db = _dot(pair, first), _dot(pair, second)
    scale = dd + aa + bb
    ee = np.where(ee <= ROUNDING**2 * scale, 0.0, ee)
    is_pair, is_sum = dd > _KNOWN * scale, ss > _KNOWN * scale
    c1, c2, inside = _regression(aa, bb, ab, da, db)
    outside = np.maximum(dd - inside, 0.0)
    length = dd + np.where(is_sum, ss, 0.0)
    found = PairProducts(
        first_size=np.sqrt(aa / n_genes),
        second_size=np.sqrt(bb / n_genes),
        additive_size=np.sqrt(ss / n_genes),
        excess_size=np.sqrt(ee / n_genes),
        relative_excess=np.sqrt(np.where(ee > 0, _ratio(ee, length), 0.0)),
        excess_share=np.where(ee > 0, _ratio(ee, ee + ss), 0.0),
        additive_cosine=_cosine(da + db, dd, ss, is_pair & is_sum),
        similarity=_cosine(ab, aa, bb, np.minimum(aa, bb) > _KNOWN * np.maximum(aa, bb)),
        c=np.where(is_sum, _ratio(da + db, ss), np.nan),
        c1=c1,
        c2=c2,
        fit_r2=np.where(is_pair, np.clip(1.0 - _ratio(outside, dd), 0.0, 1.0), np.nan),
        outside_of_excess=np.clip(_ratio(outside, ee), 0.0, 1.0),
    )
    return found, excess


def _dot(one: FloatArray, other: FloatArray) -> FloatArray:
    found: FloatArray = np.einsum("mg,mg->m", one, other)
    return found


def _ratio(upper: FloatArray, lower: FloatArray) -> FloatArray:
    found = np.full(upper.shape, np.nan)
    np.divide(upper, lower, out=found, where=lower > 0)
    return found


def _cosine(
    product: FloatArray, one: FloatArray, other: FloatArray, is_known: NDArray[np.bool_]
) -> FloatArray:
    cosine = np.clip(_ratio(product, np.sqrt(one) * np.sqrt(other)), -1.0, 1.0)
    return np.where(is_known, cosine, np.nan)


def _regression(
    aa: FloatArray, bb: FloatArray, ab: FloatArray, da: FloatArray, db: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return c1, c2 and the squared length of the fit.

    Of singles that are one direction the fit is along it, and the coefficients are undefined; without any
    single the fit is 0.
    """
    middle, half = (aa + bb) / 2.0, np.hypot((aa - bb) / 2.0, ab)
    largest = middle + half
    determinant = np.maximum(aa * bb - ab**2, 0.0)
    is_plane = determinant > COLLINEAR * np.square(largest)
    safe = np.where(is_plane, determinant, 1.0)
    c1 = np.where(is_plane, (bb * da - ab * db) / safe, np.nan)
    c2 = np.where(is_plane, (aa * db - ab * da) / safe, np.nan)
    # The main direction of the singles lies at this angle between them.
    angle = 0.5 * np.arctan2(2.0 * ab, aa - bb)
    along = np.cos(angle) * da + np.sin(angle) * db
    on_line = np.where(largest > 0, _ratio(np.square(along), largest), 0.0)
    return c1, c2, np.where(is_plane, c1 * da + c2 * db, on_line)
