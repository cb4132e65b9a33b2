"""The one perturbation type of a condition, and the folds that its perturbations are left out with."""

from __future__ import annotations

import torch
from torch import Tensor

from pertcast.models.batch import ConditionBatch
from pertcast.models.noise import mix_bits


def is_control(conditions: ConditionBatch) -> Tensor:
    """Return (N,) bool: conditions without any perturbation."""
    return (conditions.slot < 0).all(dim=1)


def condition_type(conditions: ConditionBatch, n_types: int) -> Tensor:
    """Return (N,) int64 the type of each condition, 0..T-1.

    T where there is none: a control, a type that training lacked, or perturbations of several types.
    """
    filled = conditions.slot >= 0
    stated = torch.where(conditions.pert_type < 0, n_types, conditions.pert_type)
    lowest = torch.where(filled, stated, n_types).amin(dim=1)
    highest = torch.where(filled, stated, -1).amax(dim=1)
    return torch.where(lowest == highest, lowest, n_types)


def perturbation_folds(n_perturbations: int, folds: int) -> Tensor:
    """Return (P + 1,) int64 the fold of each training perturbation; the last is -1, for an unseen one.

    Folds differ in size by one at most, and do not follow the order of the perturbations' names.
    """
    fold = torch.full((n_perturbations + 1,), -1)
    order = torch.argsort(mix_bits(torch.arange(n_perturbations)), stable=True)
    fold[order] = torch.arange(n_perturbations) % folds
    return fold


def left_out_by(conditions: ConditionBatch, fold: Tensor, folds: int) -> Tensor:
    """Return (N, K) bool: whether fold k leaves a condition out, for any of its perturbations.

    Parameters
    ----------
    conditions
        N conditions.
    fold
        (P + 1,) of `perturbation_folds`.
    folds
        K.
    """
    # An unseen perturbation or an empty slot is -1, and so points at the last row.
    own = fold[torch.where(conditions.slot >= 0, conditions.perturbation, -1)]
    return (own.unsqueeze(-1) == torch.arange(folds, device=own.device)).any(dim=1)
