"""Baselines that look the perturbation up: the sum of measured singles, and other contexts' response."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pertcast.models.baselines.base import LeaveOutBaseline
from pertcast.models.baselines.perturbation_sets import (
    Situation,
    condition_situation,
    nearest_weights,
    slot_situation,
)
from pertcast.models.baselines.statistics import ConditionStatistics
from pertcast.models.batch import ConditionBatch, ModelSpace
from pertcast.models.contract import ModelConfig


class _Lookup(LeaveOutBaseline):
    """Keeps the mean response of some training conditions and what they are."""

    known: Tensor
    response: Tensor
    is_measured: Tensor
    fallback: Tensor

    def __init__(
        self, config: ModelConfig, space: ModelSpace, conditions: ConditionBatch, known: Tensor
    ) -> None:
        super().__init__(config, space, conditions)
        self.register_buffer("known", known, persistent=False)
        self.add_buffer("response", int(known.shape[0]), space.n_genes)
        self.add_buffer("is_measured", int(known.shape[0]))
        self.add_buffer("fallback", len(space.contexts) + 1, space.n_genes)

    def solve(self, statistics: ConditionStatistics) -> None:
        """Keep the known conditions' means; what is not found falls back to their mean in the context."""
        known = self.known.to(statistics.count.device)
        self.store("response", statistics.condition_means()[known])
        self.store("is_measured", statistics.measured()[known])
        self.store("fallback", self._fallback(statistics, known))
        self.store_left_out_sd(statistics)

    def _fallback(self, statistics: ConditionStatistics, known: Tensor) -> Tensor:
        """Return (K + 1, G): mean of the known conditions by context; the last row over all contexts."""
        used = replace(statistics, count=torch.zeros_like(statistics.count))
        used.count[known] = statistics.count[known]
        if not used.measured().any():
            used = statistics
        return used.context_means(self.training_conditions.context, len(self.space.contexts))

    def look_up(self, asked: Situation, left_out: Tensor | None = None) -> Tensor:
        """Return the (N, G) responses of the nearest measured conditions, else the fallback."""
        conditions = self.training_conditions.to(self.response.device).take(self.known)
        table = condition_situation(conditions)
        table = replace(table, identity=torch.where(self.is_measured > 0, table.identity, 0))
        weights = nearest_weights(asked, table, left_out)
        found = weights.sum(dim=1, keepdim=True) > 0
        context = torch.where(asked.context < 0, self.fallback.shape[0] - 1, asked.context)
        return torch.where(found, weights @ self.response, self.fallback[context])


class Additive(_Lookup):
    """The sum of the single perturbations' measured responses.

    A single is taken from the same context where it was measured there, else averaged over contexts, at the
    nearest dose and time. A single that was never measured alone counts as the mean of the singles measured
    in that context, else of all; as the train mean where no single was measured.
    """

    def __init__(self, config: ModelConfig, space: ModelSpace, conditions: ConditionBatch) -> None:
        is_single = (conditions.slot >= 0).sum(dim=1) == 1
        super().__init__(config, space, conditions, torch.nonzero(is_single).flatten())

    def mean(self, conditions: ConditionBatch) -> Tensor:
        """Return the sum over the slots, (N, G); zero for a control."""
        return self._sum(conditions, None)

    def left_out_mean(self, index: Tensor) -> Tensor:
        """Return the sums for training conditions; a single is not looked up in itself."""
        conditions = self.training_conditions.to(self.response.device).take(index)
        own = index.unsqueeze(1) == self.known.unsqueeze(0)
        return self._sum(conditions, own.repeat_interleave(conditions.slot.shape[1], dim=0))

    def _sum(self, conditions: ConditionBatch, left_out: Tensor | None) -> Tensor:
        singles = self.look_up(slot_situation(conditions), left_out)
        filled = (conditions.slot >= 0).unsqueeze(-1)
        return (singles.view(*conditions.slot.shape, -1) * filled).sum(dim=1)


class TransferredMean(_Lookup):
    """The same perturbations' mean response in the same context, else over the other contexts.

    At the nearest dose and time; the context's mean, else the train mean, for what was never measured.
    """

    def __init__(self, config: ModelConfig, space: ModelSpace, conditions: ConditionBatch) -> None:
        super().__init__(config, space, conditions, torch.arange(len(conditions)))

    def mean(self, conditions: ConditionBatch) -> Tensor:
        """Return the transferred responses, (N, G)."""
        return self.look_up(condition_situation(conditions))

    def left_out_mean(self, index: Tensor) -> Tensor:
        """Return what the other training conditions tell about each."""
        conditions = self.training_conditions.to(self.response.device).take(index)
        return self.look_up(condition_situation(conditions), index.unsqueeze(1) == self.known.unsqueeze(0))
