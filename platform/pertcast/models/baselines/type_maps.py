"""One shrunk linear map between the responses to two types of perturbation of the same genes.

Closed form and exact when a perturbation is left out; float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor

SHRINKAGES: Final = (math.inf, *(10.0 ** (half / 2) for half in range(6, -5, -1)))
"""How much slopes of components are drawn to the one slope of all, in units of a component's mean square."""

FEWEST_SHARED: Final = 3
"""With fewer perturbations that both types measured there is no map."""

_MOST_RELIABLE: Final = 1e4


@dataclass(frozen=True)
class TypeMap:
    """A linear map from the deviations of one type to those of another.

    y = slope x + ((component_slopes - slope) * (x @ components.T)) @ components

    Attributes
    ----------
    slope
        (1,) the slope of all directions.
    component_slopes
        (K,) those of the components.
    reliability
        Share of the target's squares that left-out predictions explain, over the share that they do not; 0
        where they explain nothing.
    left_out
        (n, G) prediction of each shared perturbation by the map fitted without it.
    """

    slope: Tensor
    component_slopes: Tensor
    reliability: float
    left_out: Tensor


class _Sums(NamedTuple):
    """Products of n sources and targets, each row's and their total without it."""

    own: Tensor
    others: Tensor

    @classmethod
    def of(cls, first: Tensor, second: Tensor) -> _Sums:
        product = first * second
        return cls(product, product.sum(dim=0) - product)

    def over_genes(self) -> _Sums:
        """Return the same summed over columns, (n, 1)."""
        return _Sums(self.own.sum(dim=1, keepdim=True), self.others.sum(dim=1, keepdim=True))

    def total(self) -> Tensor:
        """Return the sum over rows."""
        return self.own.sum(dim=0)


def map_rows(source: Tensor, slope: Tensor, component_slopes: Tensor, components: Tensor) -> Tensor:
    """Return the mapped rows (n, G); `slope` (1,) or (n, 1), `component_slopes` (K,) or (n, K)."""
    return slope * source + ((component_slopes - slope) * (source @ components.T)) @ components


def fit_type_map(source: Tensor, target: Tensor, components: Tensor) -> TypeMap:
    """Fit the map from `source` to `target` (n, G) of the same n perturbations, float64.

    The slope is that of least squares over everything. A component's slope is (x.y + l slope) / (x.x + l)
    over its scores, l the shrinkage; l is chosen by exact leave-one-out error, infinite where one number is
    as good. A map that forecasts left-out perturbations no better than zero is zero.
    """
    x, y = source @ components.T, target @ components.T
    squares, products = _Sums.of(x, x), _Sums.of(x, y)
    all_squares = _Sums.of(source, source).over_genes()
    all_products = _Sums.of(source, target).over_genes()
    slopes = all_products.others / all_squares.others.clamp(min=1e-300)
    slope = all_products.total() / all_squares.total().clamp(min=1e-300)
    scale = float(squares.total().mean()) if squares.own.numel() else 0.0
    nothing = float(target.square().sum())
    best, least = TypeMap(slope.new_zeros(1), x.new_zeros(x.shape[1]), 0.0, torch.zeros_like(target)), nothing
    if len(source) < FEWEST_SHARED:
        return best
    for shrinkage in SHRINKAGES:
        others = _shrunk(products.others, squares.others, slopes, shrinkage * scale)
        left_out = map_rows(source, slopes, others, components)
        error = float((target - left_out).square().sum())
        if error < least * (1 - 1e-9):
            reliability = min(_MOST_RELIABLE, (nothing - error) / max(error, 1e-300))
            found = _shrunk(products.total(), squares.total(), slope, shrinkage * scale)
            best, least = TypeMap(slope, found, reliability, left_out), error
    return best


def _shrunk(products: Tensor, squares: Tensor, towards: Tensor, amount: float) -> Tensor:
    if math.isinf(amount) or amount == 0.0:
        return towards.expand_as(products)
    return (products + amount * towards) / (squares + amount)
