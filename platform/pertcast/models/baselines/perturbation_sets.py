"""Which conditions share a set of perturbations, and which measured condition is nearest to another.

Order of the slots never matters; doses and times are compared on their logarithms.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pertcast.models.batch import ConditionBatch
from pertcast.models.noise import mix_bits

_OTHER_CONTEXT = 1e3


def slot_identity(conditions: ConditionBatch) -> Tensor:
    """Return (N, S) int64: a number for (perturbation, type) of each slot, 0 for empty or unseen ones."""
    identity = mix_bits(conditions.perturbation * 4096 + conditions.pert_type + 1) | 1
    return torch.where(conditions.perturbation >= 0, identity, 0)


def set_identity(conditions: ConditionBatch) -> Tensor:
    """Return (N,) int64: equal for equal sets; 0 where a slot is unseen or all are empty."""
    complete = ((conditions.slot >= 0) == (conditions.perturbation >= 0)).all(dim=1)
    return torch.where(complete, slot_identity(conditions).sum(dim=1), 0)


def untyped_identity(conditions: ConditionBatch) -> Tensor:
    """Return (N,) int64: equal for equal sets of perturbations, whatever their types; 0 as `set_identity`."""
    complete = ((conditions.slot >= 0) == (conditions.perturbation >= 0)).all(dim=1)
    identity = mix_bits(conditions.perturbation + 1) | 1
    return torch.where(complete, (identity * (conditions.perturbation >= 0)).sum(dim=1), 0)


def set_groups(conditions: ConditionBatch) -> Tensor:
    """Return (N,) int64 numbers 0..R-1 of the distinct perturbation sets, by features where unseen."""
    identity = torch.where(conditions.perturbation >= 0, conditions.perturbation, -2 - conditions.slot)
    identity = torch.where(conditions.slot >= 0, identity, -1).sort(dim=1).values
    groups: Tensor = torch.unique(identity, dim=0, return_inverse=True)[1]
    return groups


def mean_log_dose(conditions: ConditionBatch) -> Tensor:
    """Return (N,) float32 mean of the slots' log10 doses, NaN where there is none."""
    return conditions.log_dose.nanmean(dim=1)


def log_distance(first: Tensor, second: Tensor) -> Tensor:
    """Return (N, M) absolute differences of two sets of logarithms; 0 where either is missing (NaN)."""
    return (first.unsqueeze(1) - second.unsqueeze(0)).abs().nan_to_num(nan=0.0)


@dataclass(frozen=True)
class Situation:
    """What is given (identity, 0 for something unseen), where, how much and how long; (N,) each."""

    identity: Tensor
    context: Tensor
    log_dose: Tensor
    log_time: Tensor

    def take(self, index: Tensor) -> Situation:
        """Return the situations at `index`."""
        return Situation(
            self.identity[index], self.context[index], self.log_dose[index], self.log_time[index]
        )


def condition_situation(conditions: ConditionBatch) -> Situation:
    """Return the (N,) situations of whole conditions."""
    return Situation(
        set_identity(conditions), conditions.context, mean_log_dose(conditions), conditions.log_time
    )


def slot_situation(conditions: ConditionBatch) -> Situation:
    """Return the (N * S,) situations of the slots, row by row."""
    slots = conditions.slot.shape[1]
    return Situation(
        slot_identity(conditions).flatten(),
        conditions.context.repeat_interleave(slots),
        conditions.log_dose.flatten(),
        conditions.log_time.repeat_interleave(slots),
    )


def nearest_weights(asked: Situation, measured: Situation, left_out: Tensor | None = None) -> Tensor:
    """Return (N, M) float32 weights of the measured situations nearest to each asked one.

    Only equal identities count; the same context goes before any other; then the nearest dose and time.
    Equally near ones share the weight; rows without any candidate are zero. `left_out` (N, M) bool marks
    what may not be used.
    """
    distance = log_distance(asked.log_dose, measured.log_dose)
    distance += log_distance(asked.log_time, measured.log_time)
    distance += _OTHER_CONTEXT * (asked.context.unsqueeze(1) != measured.context.unsqueeze(0))
    usable = asked.identity.unsqueeze(1) == measured.identity.unsqueeze(0)
    usable &= (asked.identity != 0).unsqueeze(1)
    if left_out is not None:
        usable &= ~left_out
    if not measured.identity.numel():
        return distance
    distance = distance.masked_fill(~usable, torch.inf)
    chosen = (usable & (distance <= distance.amin(dim=1, keepdim=True) + 1e-4)).to(torch.float32)
    return chosen / chosen.sum(dim=1, keepdim=True).clamp(min=1)
