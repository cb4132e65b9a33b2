"""The mean response of the training conditions that share a perturbation with the one that is asked for."""

from __future__ import annotations

import torch
from torch import Tensor

from pertcast.models.baselines.base import ContextBaseline, LeaveOutBaseline
from pertcast.models.baselines.perturbation_sets import slot_identity
from pertcast.models.baselines.statistics import ConditionStatistics
from pertcast.models.batch import ConditionBatch, ModelSpace
from pertcast.models.contract import ModelConfig


def _share_a_perturbation(asked: Tensor, known: Tensor) -> Tensor:
    """Return (N, C) bool: whether rows of slot identities (N, S) and (C, T) share one that is not 0."""
    shared = torch.zeros(len(asked), len(known), dtype=torch.bool, device=asked.device)
    for first in asked.unbind(dim=1):
        for second in known.unbind(dim=1):
            shared |= (first.unsqueeze(1) == second.unsqueeze(0)) & (first != 0).unsqueeze(1)
    return shared


class MatchingMean(ContextBaseline, LeaveOutBaseline):
    """Mean over the training conditions that contain at least one of the asked perturbations.

    The matching mean of Viñas Torné et al. 2025 (Systema) for combined perturbations: conditions of the same
    context go before any other, each counts once whatever its dose; the context's mean where none matches.
    """

    response: Tensor
    is_measured: Tensor

    def __init__(self, config: ModelConfig, space: ModelSpace, conditions: ConditionBatch) -> None:
        super().__init__(config, space, conditions)
        self.add_buffer("response", space.n_conditions, space.n_genes)
        self.add_buffer("is_measured", space.n_conditions)

    def solve(self, statistics: ConditionStatistics) -> None:
        """Keep the mean response of every training condition."""
        self.solve_context_means(statistics)
        self.store("response", statistics.condition_means())
        self.store("is_measured", statistics.measured())
        self.store_left_out_sd(statistics)

    def mean(self, conditions: ConditionBatch) -> Tensor:
        """Return the means of the matching training conditions, (N, G)."""
        return self._matching_mean(conditions, None)

    def left_out_mean(self, index: Tensor) -> Tensor:
        """Return the matching means of training conditions, each without itself."""
        known = self.training_conditions.to(self.response.device)
        own = torch.nn.functional.one_hot(index, len(known)).bool()
        return self._matching_mean(known.take(index), own)

    def _matching_mean(self, conditions: ConditionBatch, left_out: Tensor | None) -> Tensor:
        known = self.training_conditions.to(self.response.device)
        usable = _share_a_perturbation(slot_identity(conditions), slot_identity(known))
        usable &= self.is_measured > 0
        if left_out is not None:
            usable &= ~left_out
        here = usable & (conditions.context.unsqueeze(1) == known.context.unsqueeze(0))
        chosen = torch.where(here.any(dim=1, keepdim=True), here, usable).to(self.response.dtype)
        number = chosen.sum(dim=1, keepdim=True)
        means = chosen @ self.response / number.clamp(min=1)
        return torch.where(number > 0, means, self.context_mean(conditions))
