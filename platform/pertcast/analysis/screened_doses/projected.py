"""One number for the response at each dose of many curves: its projection on the curve's main direction.

Predictions have no noise, so that a curve may be projected on its own direction: there is nothing that could
pass for an effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError

FloatArray = NDArray[np.float64]

_WIDENED_CURVES: Final = 64
"""Curves that stand in double precision at a time."""


@dataclass(frozen=True)
class ProjectedCurves:
    """M curves of up to D doses, NaN where a curve has fewer.

    Attributes
    ----------
    doses
        (M, D) rising, missing ones last.
    values
        (M, D) responses along the main direction, the longest one positive; length over genes.
    effect_sizes
        (M, D) root mean square over genes, in the response's unit.
    direction_share
        (M,) share of a curve's squared length on its main direction; NaN where nothing responds.
    """

    doses: FloatArray
    values: FloatArray
    effect_sizes: FloatArray
    direction_share: FloatArray


def project_curves(doses: NDArray[np.floating], responses: NDArray[np.floating]) -> ProjectedCurves:
    """Project every curve on the first singular vector of its uncentred (D, G) responses.

    With K = R R' = U S^2 U', the projections R v are S u of the first pair: only inner products of doses are
    needed, never the vector over genes.

    Parameters
    ----------
    doses
        (M, D) above 0, in any order; NaN where a curve has fewer than D.
    responses
        (M, D, G); what stands at a missing dose does not count.

    Raises
    ------
    SchemaError
        Shapes do not fit, a dose is not above 0, or a response is not finite.
    """
    _require_shapes(doses, responses)
    rising = np.argsort(doses, axis=1, kind="stable")
    placed = np.take_along_axis(doses.astype(np.float64), rising, axis=1)
    is_there = np.isfinite(placed)
    products = _inner_products(responses, rising, is_there)
    lengths, vectors = np.linalg.eigh(products)
    values = np.sqrt(np.maximum(lengths[:, -1:], 0.0)) * vectors[:, :, -1]
    longest = np.take_along_axis(values, np.abs(values).argmax(axis=1)[:, None], axis=1)
    values = np.where(is_there, np.where(longest < 0, -values, values), np.nan)
    squares = np.diagonal(products, axis1=1, axis2=2)
    total = squares.sum(axis=1)
    share = np.full(len(total), np.nan)
    np.divide(lengths[:, -1], total, out=share, where=total > 0)
    sizes = np.where(is_there, np.sqrt(squares / responses.shape[2]), np.nan)
    return ProjectedCurves(placed, values, sizes, np.minimum(share, 1.0))


def _inner_products(
    responses: NDArray[np.floating], rising: NDArray[np.int64], is_there: NDArray[np.bool_]
) -> FloatArray:
    """Return (M, D, D) inner products over genes in double precision, 0 at missing doses."""
    there = np.empty_like(is_there)
    np.put_along_axis(there, rising, is_there, axis=1)
    products = np.empty((*is_there.shape, is_there.shape[1]))
    for start in range(0, len(products), _WIDENED_CURVES):
        part = slice(start, start + _WIDENED_CURVES)
        wide = np.where(there[part, :, None], responses[part], 0.0).astype(np.float64)
        products[part] = wide @ wide.transpose(0, 2, 1)
    if not np.isfinite(products).all():
        curve, place = np.argwhere(~np.isfinite(responses).all(axis=2) & there)[0]
        raise SchemaError(
            f"The responses of curve {curve} at dose {place} (counted from 0) are not finite: predict the "
            "condition again or leave it out."
        )
    products = np.take_along_axis(products, rising[:, :, None], axis=1)
    return np.take_along_axis(products, rising[:, None, :], axis=2)


def _require_shapes(doses: NDArray[np.floating], responses: NDArray[np.floating]) -> None:
    if doses.ndim != 2 or responses.ndim != 3 or responses.shape[:2] != doses.shape:
        raise SchemaError(
            f"Doses have shape {doses.shape} and responses {responses.shape}: give (curves, doses) and "
            "(curves, doses, genes)."
        )
    if not responses.shape[2]:
        raise SchemaError("The responses have no genes: there is nothing to project.")
    wrong = (doses <= 0) | np.isinf(doses)
    if wrong.any():
        curve, place = np.argwhere(wrong)[0]
        raise SchemaError(
            f"A dose of {doses[curve, place]:g} (curve {curve}, place {place}) has no place on a log scale: "
            "leave controls out."
        )
