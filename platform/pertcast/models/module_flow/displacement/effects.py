r"""Single effects as a Gaussian process over perturbations: means of conditions in, displacements out.

A condition's mean latent displacement is the sum of its slots' effects plus noise. Shares of the variance and
the length are those that predict perturbations best that are left out (exact, by blocks of the inverse).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from pertcast.models.module_flow.displacement.similarity import (
    Amplitudes,
    Slots,
    SlotSimilarity,
    summed_by_condition,
)

LENGTHS: Final = (0.5, 1.0, 2.0)
SHARES_ALIKE: Final = (0.1, 0.3, 0.6, 0.9)
TUNED_CONDITIONS: Final = 2000
"""Conditions, at most, that shares and length are chosen on."""

_LEAST_SIGNAL: Final = 1e-3
_SLOT_BLOCK: Final = 1024


@dataclass(frozen=True, slots=True)
class ConditionMeans:
    """Measured means of N conditions in the latent space.

    Attributes
    ----------
    mean
        (N, D) float64 displacement from the controls.
    count
        (N,) float64 cells.
    noise
        (D,) float64 variance of a single cell around its condition's mean.
    """

    mean: Tensor
    count: Tensor
    noise: Tensor

    def take(self, index: Tensor) -> ConditionMeans:
        """Return the conditions at `index`."""
        return ConditionMeans(self.mean[index], self.count[index], self.noise)


@dataclass(frozen=True, slots=True)
class SolvedEffects:
    """A solved process.

    Attributes
    ----------
    amplitudes
        Chosen.
    signal
        (D,) variance of a single effect in each dimension.
    weights
        (N, D) float64: a slot's effect is its covariance with the N conditions times these.
    left_out_r2
        Share of single effects' squares that leaving their perturbation out still predicts.
    """

    amplitudes: Amplitudes
    signal: Tensor
    weights: Tensor
    left_out_r2: float


def signal_variance(means: ConditionMeans, is_single: Tensor) -> Tensor:
    """Return (D,) mean square of single effects beyond noise; of all conditions where none is single."""
    chosen = is_single if bool(is_single.any()) else torch.ones_like(is_single)
    square = means.mean[chosen].square() - means.noise / means.count[chosen].unsqueeze(1)
    floor = _LEAST_SIGNAL * means.mean.square().mean(dim=0).clamp(min=1e-12)
    return torch.maximum(square.mean(dim=0), floor)


def common_share(means: ConditionMeans, is_single: Tensor, signal: Tensor) -> float:
    """Return the share of single effects' squares that is common to all of them, 0.02 to 0.9."""
    chosen = is_single if bool(is_single.any()) else torch.ones_like(is_single)
    count = int(chosen.sum())
    common = means.mean[chosen].mean(dim=0).square() - signal / count
    return float((common.clamp(min=0).sum() / signal.sum()).clamp(0.02, 0.9))


def solve_effects(
    similarity: SlotSimilarity,
    slots: Slots,
    means: ConditionMeans,
    groups: Tensor,
    interaction_variance: float,
) -> SolvedEffects:
    """Choose shares and length, and solve.

    Parameters
    ----------
    similarity
        Covariance of slots.
    slots
        Of the N conditions.
    means
        Of the same conditions.
    groups
        (N,) int64: conditions of one set of perturbations, which are left out together.
    interaction_variance
        Variance that sets of several have beyond the sum of their members, in units of a single effect's.
    """
    number = len(means.count)
    n_slots = torch.bincount(slots.condition, minlength=number)
    signal = signal_variance(means, n_slots == 1)
    extra = interaction_variance * (n_slots > 1)
    chosen = torch.argsort(means.count, descending=True, stable=True)[:TUNED_CONDITIONS].sort().values
    diagonal = float(means.noise.sum() / signal.sum()) / means.count + extra
    tuned = _Tuning(
        similarity, _renumbered(slots, chosen, number), means.mean[chosen], diagonal[chosen],
        groups[chosen], n_slots[chosen] == 1,
    )  # fmt: skip
    errors = {each: tuned.error(each) for each in _candidates(common_share(means, n_slots == 1, signal))}
    amplitudes = min(errors, key=lambda each: errors[each])
    covariance = condition_covariance(similarity, slots, number, amplitudes)
    weights = _solve(covariance, means, signal, extra)
    return SolvedEffects(amplitudes, signal, weights, 1 - errors[amplitudes])


def _renumbered(slots: Slots, conditions: Tensor, number: int) -> Slots:
    """Return the slots of some of the conditions, which are numbered anew in their order."""
    place = torch.full((number,), -1, dtype=torch.int64)
    place[conditions] = torch.arange(len(conditions))
    slots = slots.take(place[slots.condition] >= 0)
    return replace(slots, condition=place[slots.condition])


class _Tuning:
    """Left-out errors of some conditions by amplitudes; what these have in common is computed once."""

    def __init__(
        self,
        similarity: SlotSimilarity,
        slots: Slots,
        mean: Tensor,
        diagonal: Tensor,
        groups: Tensor,
        is_single: Tensor,
    ) -> None:
        self._parts = similarity.parts(slots, slots)
        self._condition = slots.condition
        self._mean, self._diagonal = mean, diagonal
        self._groups, self._is_single = groups, is_single

    def error(self, amplitudes: Amplitudes) -> float:
        """Return the squared error of left-out single conditions as a share of their squares."""
        covariance = self._parts.covariance(amplitudes)
        for dim in (0, 1):
            covariance = summed_by_condition(covariance, self._condition, len(self._mean), dim)
        kernel = covariance + torch.diag(self._diagonal)
        return _left_out_error(kernel, self._mean, self._groups, self._is_single)


def _candidates(common: float) -> Iterator[Amplitudes]:
    for length in LENGTHS:
        for share in SHARES_ALIKE:
            yield Amplitudes(common, (1 - common) * share, (1 - common) * (1 - share), length)


def condition_covariance(
    similarity: SlotSimilarity, slots: Slots, number: int, amplitudes: Amplitudes
) -> Tensor:
    """Return (N, N) float64 covariance of conditions, summed over both conditions' slots; by blocks."""
    covariance = torch.zeros(number, number, dtype=torch.float64)
    for rows in torch.split(torch.arange(len(slots)), _SLOT_BLOCK):
        block = slots.take(rows)
        by_slot = similarity.covariance(block, slots, amplitudes)
        covariance.index_add_(0, block.condition, summed_by_condition(by_slot, slots.condition, number, 1))
    return covariance


def _left_out_error(kernel: Tensor, mean: Tensor, groups: Tensor, is_single: Tensor) -> float:
    """Return the squared error of left-out single conditions as a share of their squares."""
    if not bool(is_single.any()):
        is_single = torch.ones_like(is_single)
    inverse = torch.linalg.inv(kernel)
    alpha = inverse @ mean
    sizes = torch.bincount(groups, minlength=int(groups.max()) + 1)
    alone = is_single & (sizes[groups] == 1)
    left = alpha[alone] / inverse.diagonal()[alone].unsqueeze(1)
    error, total = float(left.square().sum()), float(mean[alone].square().sum())
    for group in torch.unique(groups[is_single & ~alone]).tolist():
        index = torch.nonzero(groups == group).flatten()
        left = torch.linalg.solve(inverse[index][:, index], alpha[index])
        error += float(left.square().sum())
        total += float(mean[index].square().sum())
    return error / max(total, 1e-12)


def _solve(covariance: Tensor, means: ConditionMeans, signal: Tensor, extra: Tensor) -> Tensor:
    """Return (N, D) weights; every dimension has its own signal and noise.

    Dimensions are put in a few classes of equal signal to noise, one factorisation each.
    """
    ratio = (means.noise / signal).log2()
    classes = torch.round(ratio)
    weights = torch.empty_like(means.mean)
    for each in torch.unique(classes).tolist():
        dimensions = torch.nonzero(classes == each).flatten()
        noise = float(2.0 ** ratio[dimensions].mean())
        factor = torch.linalg.cholesky(covariance + torch.diag(noise / means.count + extra + 1e-9))
        weights[:, dimensions] = torch.cholesky_solve(means.mean[:, dimensions], factor)
    return weights
