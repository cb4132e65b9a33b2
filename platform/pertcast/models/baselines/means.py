"""Baselines that do not look at the perturbation: no change, and means of the training responses."""

from __future__ import annotations

import torch
from torch import Tensor

from pertcast.models.baselines.base import Baseline, ContextBaseline
from pertcast.models.baselines.references import ReferenceBaseline
from pertcast.models.baselines.statistics import ConditionStatistics
from pertcast.models.batch import ConditionBatch, ModelSpace
from pertcast.models.contract import ModelConfig


class NoChange(Baseline):
    """The response is zero: the cell stays as its control."""

    def solve(self, statistics: ConditionStatistics) -> None:
        """Measure the sd of the targets around zero."""
        self.store("sd", statistics.residual_sd(torch.zeros_like(statistics.target_sum)))

    def mean(self, conditions: ConditionBatch) -> Tensor:
        """Return zeros, (N, G)."""
        return self.sd.new_zeros(len(conditions), self.space.n_genes)


class TrainMean(Baseline):
    """The mean over training conditions of their mean response (the perturbed mean)."""

    response: Tensor

    def __init__(self, config: ModelConfig, space: ModelSpace, conditions: ConditionBatch) -> None:
        super().__init__(config, space, conditions)
        self.add_buffer("response", space.n_genes)

    def solve(self, statistics: ConditionStatistics) -> None:
        """Average the conditions' means; each condition counts once."""
        response = statistics.train_mean()
        self.store("response", response)
        self.store("sd", statistics.residual_sd(response.expand_as(statistics.target_sum)))

    def mean(self, conditions: ConditionBatch) -> Tensor:
        """Return the same response for every condition, (N, G)."""
        return self.response.expand(len(conditions), -1).clone()


class ContextMean(ContextBaseline):
    """The mean over the training conditions of the same context; the train mean for an unseen context."""

    def solve(self, statistics: ConditionStatistics) -> None:
        """Average the conditions' means by context."""
        self.store("sd", statistics.residual_sd(self.solve_context_means(statistics)))

    def mean(self, conditions: ConditionBatch) -> Tensor:
        """Return each context's mean, (N, G)."""
        return self.context_mean(conditions)


class TypeMean(ReferenceBaseline):
    """The mean over the training conditions of the same perturbation type; see `ReferenceBaseline`."""

    def solve(self, statistics: ConditionStatistics) -> None:
        """Average the conditions' means by type and context."""
        self.store("sd", statistics.residual_sd(self.solve_reference_means(statistics)))

    def mean(self, conditions: ConditionBatch) -> Tensor:
        """Return the mean of each condition's type, (N, G)."""
        return self.reference_mean(conditions)


class GroupMean(ContextBaseline):
    """The mean over the training rows of the same group (plate or batch).

    Falls back to the context's mean where a condition names no known group, then to the train mean.
    """

    group_means: Tensor

    def __init__(self, config: ModelConfig, space: ModelSpace, conditions: ConditionBatch) -> None:
        super().__init__(config, space, conditions)
        self.add_buffer("group_means", len(space.groups), space.n_genes)

    def solve(self, statistics: ConditionStatistics) -> None:
        """Average the rows of each group."""
        self.solve_context_means(statistics)
        number = statistics.group_count.unsqueeze(1)
        means = statistics.group_sum / number.clamp(min=1)
        self.store("group_means", torch.where(number > 0, means, statistics.train_mean()))
        self.store("sd", self._residual_sd(statistics, means))

    def _residual_sd(self, statistics: ConditionStatistics, means: Tensor) -> Tensor:
        within = statistics.square_sum - (means * statistics.group_sum).sum(dim=0)
        fallback = self.context_means.to(means)
        within -= 2 * (fallback * statistics.ungrouped_sum).sum(dim=0)
        within += (statistics.ungrouped_count.unsqueeze(1) * fallback.square()).sum(dim=0)
        return (within.clamp(min=0) / statistics.n_rows.clamp(min=1)).sqrt()

    def mean(self, conditions: ConditionBatch) -> Tensor:
        """Return each group's mean, or the context's, (N, G)."""
        fallback = self.context_mean(conditions)
        if not self.space.groups:
            return fallback
        known = (conditions.group >= 0).unsqueeze(1)
        return torch.where(known, self.group_means[conditions.group.clamp(min=0)], fallback)
