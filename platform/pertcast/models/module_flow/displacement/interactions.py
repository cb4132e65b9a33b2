r"""How the members of a set change each other, from measured sets: pairs of alike members interact alike.

For slots a, b of one set with single effects d and codes u = d / |d| the excess over the sum is

.. math:: \sum_{a \ne b} \Gamma(u_a, u_b) \, d_a + \tfrac12 e(u_a, u_b)

a gain of each member by the other (synergy above 0, suppression below) and a new effect of both
(neomorphism), each a Gaussian process over ordered pairs with covariance
:math:`\tau \, \kappa(u_a, u_a') \kappa(u_b, u_b')`. That interactions between two programs are of one kind,
whichever genes are hit in them, is what genetic interaction maps show (Segre et al. 2005).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

TUNED_SETS: Final = 1000
"""Sets, at most, that the shape is chosen on."""

_FLOOR: Final = 0.1
_TOLERANCE: Final = 1e-6
_MOST_ITERATIONS: Final = 300


@dataclass(frozen=True, slots=True)
class InteractionShape:
    """Covariance of gains and new effects.

    Attributes
    ----------
    gain
        Variance of the gain of one member by another.
    emergent
        Variance of the new effect, in units of a single effect's.
    length
        Of the codes, which have unit length.
    """

    gain: float
    emergent: float
    length: float


CANDIDATES: Final = tuple(
    InteractionShape(gain, emergent, length)
    for length in (0.4, 0.6, 1.0)
    for gain, emergent in ((0.1, 0.15), (0.3, 0.5), (0.5, 1.0))
)


@dataclass(frozen=True, slots=True)
class OrderedPairs:
    """All ordered pairs of different slots within N conditions, R in all.

    Attributes
    ----------
    condition
        (R,) int64.
    effect
        (R, D) float64 single effect of the first member.
    first, second
        (R, D) float64 codes of the members.
    count
        N.
    """

    condition: Tensor
    effect: Tensor
    first: Tensor
    second: Tensor
    count: int

    @classmethod
    def of(cls, condition: Tensor, effects: Tensor, count: int) -> OrderedPairs:
        """List the pairs of slots (M,) that belong to `condition` and have single `effects` (M, D)."""
        same = condition.unsqueeze(1) == condition
        same.fill_diagonal_(False)
        first, second = torch.nonzero(same, as_tuple=True)
        codes = effects / effects.norm(dim=1, keepdim=True).clamp(min=1e-12)
        return cls(condition[first], effects[first], codes[first], codes[second], count)

    def similarity(self, other: OrderedPairs, length: float) -> Tensor:
        """Return (R, R') float64 covariance of ordered pairs, at a variance of one."""
        return _alike(self.first, other.first, length) * _alike(self.second, other.second, length)


def _alike(first: Tensor, second: Tensor, length: float) -> Tensor:
    squared = torch.cdist(first, second).square()
    return _FLOOR + torch.exp(squared / (-2 * length**2))


@dataclass(frozen=True, slots=True)
class SolvedInteractions:
    """A solved process.

    Attributes
    ----------
    shape
        Chosen; None: no interaction predicts left-out sets better than none.
    weights
        (N, D) float64 of the N measured sets.
    left_out_r2
        Share of the measured excess that leaving sets out still predicts; 0 where there is none.
    """

    shape: InteractionShape | None
    weights: Tensor
    left_out_r2: float


class InteractionCovariance:
    """Covariance between asked and measured sets, applied to weights without being built over dimensions.

    Parameters
    ----------
    asked, measured
        Ordered pairs of both.
    shape
        Variances and length.
    signal
        (D,) variance of a single effect in each dimension.
    """

    def __init__(
        self, asked: OrderedPairs, measured: OrderedPairs, shape: InteractionShape, signal: Tensor
    ) -> None:
        self.asked, self.measured = asked, measured
        self.shape, self.signal = shape, signal
        self.by_pair = asked.similarity(measured, shape.length)
        by_asked = self.by_pair.new_zeros(asked.count, len(measured.condition))
        by_asked.index_add_(0, asked.condition, self.by_pair)
        self.by_set = by_asked.new_zeros(asked.count, measured.count)
        self.by_set.index_add_(1, measured.condition, by_asked)

    def apply(self, weights: Tensor) -> Tensor:
        """Return (N, D) the covariance times (N', D) weights."""
        emergent = self.shape.emergent * 0.5 * (self.by_set @ weights) * self.signal
        along = (weights[self.measured.condition] * self.measured.effect).sum(dim=1)
        gain = self.shape.gain * (self.by_pair @ along)
        moved = self.asked.effect * gain.unsqueeze(1)
        return emergent.index_add_(0, self.asked.condition, moved)


def _conjugate_gradients(covariance: InteractionCovariance, noise: Tensor, right: Tensor) -> Tensor:
    """Solve (covariance + noise) w = right; `noise` (N, D) is diagonal and is the preconditioner.

    All dimensions of all sets are one system, for gains couple them.
    """
    emergent = covariance.shape.emergent * 0.5 * covariance.by_set.diagonal().unsqueeze(1)
    scale = noise + emergent * covariance.signal
    solution = torch.zeros_like(right)
    left = right.clone()
    found = left / scale
    direction, product = found.clone(), float((left * found).sum())
    first = product
    for _ in range(_MOST_ITERATIONS):
        if product <= _TOLERANCE**2 * first:
            break
        image = covariance.apply(direction) + noise * direction
        step = product / float((direction * image).sum())
        solution += step * direction
        left -= step * image
        found = left / scale
        before, product = product, float((left * found).sum())
        direction = found + (product / before) * direction
    return solution


def _chosen(pairs: OrderedPairs, index: Tensor) -> OrderedPairs:
    """Return the pairs of the conditions at `index`, renumbered."""
    place = torch.full((pairs.count,), -1, dtype=torch.int64)
    place[index] = torch.arange(len(index))
    kept = place[pairs.condition] >= 0
    return replace(
        pairs,
        condition=place[pairs.condition[kept]],
        effect=pairs.effect[kept],
        first=pairs.first[kept],
        second=pairs.second[kept],
        count=len(index),
    )


def solve_interactions(
    pairs: OrderedPairs, excess: Tensor, noise: Tensor, signal: Tensor, groups: Tensor, n_folds: int = 5
) -> SolvedInteractions:
    """Choose a shape by leaving sets out, and solve.

    Parameters
    ----------
    pairs
        Of the N measured sets.
    excess, noise
        (N, D) float64: what the sum of the single effects leaves, and its variance.
    signal
        (D,) variance of a single effect.
    groups
        (N,) int64: equal for equal sets (of other contexts, doses), which are left out together.
    n_folds
        Parts of the sets that are left out in turn.
    """
    none = SolvedInteractions(None, torch.zeros_like(excess), 0.0)
    tuned = torch.arange(0, pairs.count, -(-pairs.count // TUNED_SETS))
    sets = _Sets(_chosen(pairs, tuned), excess[tuned], noise[tuned], signal)
    distinct, number = torch.unique(groups[tuned], return_inverse=True)
    n_folds = min(n_folds, len(distinct))
    if n_folds < 2:
        return none
    errors = {shape: sets.left_out_error(shape, number % n_folds, n_folds) for shape in CANDIDATES}
    best = min(CANDIDATES, key=lambda shape: errors[shape])
    if errors[best] >= 1:
        return none
    weights = _solve(_Sets(pairs, excess, noise, signal), best)
    return SolvedInteractions(best, weights, 1 - errors[best])


@dataclass(frozen=True, slots=True)
class _Sets:
    """Measured sets: their pairs, excess and noise (N, D), and the signal (D,)."""

    pairs: OrderedPairs
    excess: Tensor
    noise: Tensor
    signal: Tensor

    def take(self, index: Tensor) -> _Sets:
        return _Sets(_chosen(self.pairs, index), self.excess[index], self.noise[index], self.signal)

    def left_out_error(self, shape: InteractionShape, fold: Tensor, n_folds: int) -> float:
        """Return the squared error of left-out sets as a share of their squared excess."""
        error = 0.0
        for each in range(n_folds):
            known, asked = (self.take(torch.nonzero(m).flatten()) for m in (fold != each, fold == each))
            covariance = InteractionCovariance(asked.pairs, known.pairs, shape, self.signal)
            error += float((asked.excess - covariance.apply(_solve(known, shape))).square().sum())
        return error / max(float(self.excess.square().sum()), 1e-12)


def _solve(sets: _Sets, shape: InteractionShape) -> Tensor:
    covariance = InteractionCovariance(sets.pairs, sets.pairs, shape, sets.signal)
    return _conjugate_gradients(covariance, sets.noise, sets.excess)
