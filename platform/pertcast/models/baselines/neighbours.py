"""The mean response of the most similar training perturbations."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from pertcast.models.baselines.base import LeaveOutBaseline
from pertcast.models.baselines.perturbation_sets import log_distance, mean_log_dose, set_groups
from pertcast.models.baselines.references import ReferenceBaseline, type_rows
from pertcast.models.baselines.statistics import ConditionStatistics
from pertcast.models.batch import ConditionBatch, ModelSpace
from pertcast.models.contract import ModelConfig


class NeighboursConfig(ModelConfig):
    """Configuration of the nearest-neighbour baseline.

    Attributes
    ----------
    n_neighbours
        Training conditions averaged, at most.
    log_scale
        Decades of dose and of time over which a neighbour loses a factor e of its weight.
    """

    n_neighbours: int = Field(20, ge=1)
    log_scale: float = Field(1.0, gt=0)


class Neighbours(ReferenceBaseline, LeaveOutBaseline):
    """Mean of the k nearest training conditions of the same context, weighted by similarity.

    Similarity of two perturbation sets is a.b / (|a|^2 + |b|^2 - a.b), Tanimoto's for fingerprints, times
    exp(-|log dose difference| / scale) and the same in time. Conditions of an unseen context look in all
    contexts. Conditions of the same perturbation type go before all others; without any similar condition the
    answer is the reference mean. Equals of the k-th all count.
    """

    response: Tensor
    is_measured: Tensor
    set_features: Tensor
    set_of_condition: Tensor
    config: NeighboursConfig

    def __init__(self, config: NeighboursConfig, space: ModelSpace, conditions: ConditionBatch) -> None:
        super().__init__(config, space, conditions)
        self.add_buffer("response", space.n_conditions, space.n_genes)
        self.add_buffer("is_measured", space.n_conditions)
        groups = set_groups(conditions)
        n_sets = int(groups.max()) + 1 if len(groups) else 0
        features = torch.zeros(n_sets, space.feature_width)
        features[groups] = conditions.summed_features().to(torch.float32)
        self.register_buffer("set_features", features, persistent=False)
        self.register_buffer("set_of_condition", groups, persistent=False)

    def solve(self, statistics: ConditionStatistics) -> None:
        """Keep the mean response of every training condition."""
        self.solve_reference_means(statistics)
        self.store("response", statistics.condition_means())
        self.store("is_measured", statistics.measured())
        self.store_left_out_sd(statistics)

    def mean(self, conditions: ConditionBatch) -> Tensor:
        """Return the weighted mean of the neighbours, (N, G)."""
        return self._average(conditions, self._of_one_type(conditions, self._weights(conditions)))

    def left_out_mean(self, index: Tensor) -> Tensor:
        """Return the neighbours' mean for training conditions, their own perturbation set left out."""
        conditions = self.training_conditions.to(self.response.device).take(index)
        own = self.set_of_condition[index].unsqueeze(1) == self.set_of_condition.unsqueeze(0)
        weights = self._weights(conditions).masked_fill(own, 0.0)
        return self._average(conditions, self._of_one_type(conditions, weights))

    def _weights(self, conditions: ConditionBatch) -> Tensor:
        known = self.training_conditions.to(self.response.device)
        features = conditions.summed_features().to(self.set_features.dtype)
        similarity = tanimoto(features, self.set_features)[:, self.set_of_condition]
        distance = log_distance(mean_log_dose(conditions), mean_log_dose(known))
        distance += log_distance(conditions.log_time, known.log_time)
        weights = similarity.clamp(min=0) * torch.exp(-distance / self.config.log_scale) * self.is_measured
        other = conditions.context.unsqueeze(1) != known.context.unsqueeze(0)
        return weights.masked_fill(other & (conditions.context >= 0).unsqueeze(1), 0.0)

    def _of_one_type(self, conditions: ConditionBatch, weights: Tensor) -> Tensor:
        """Return the weights without other types where a condition has neighbours of its own."""
        if not self.has_types:
            return weights
        known = type_rows(self.training_conditions.to(weights.device), self.space)
        own = weights * (type_rows(conditions, self.space).unsqueeze(1) == known.unsqueeze(0))
        return torch.where(own.any(dim=1, keepdim=True), own, weights)

    def _average(self, conditions: ConditionBatch, weights: Tensor) -> Tensor:
        if weights.shape[1] > self.config.n_neighbours:
            least = weights.topk(self.config.n_neighbours, dim=1).values[:, -1:]
            weights = weights.masked_fill(weights < least, 0.0)
        total = weights.sum(dim=1, keepdim=True)
        mean = (weights / total.clamp(min=1e-6)) @ self.response
        return torch.where(total > 1e-6, mean, self.reference_mean(conditions))


def tanimoto(first: Tensor, second: Tensor) -> Tensor:
    """Return the (N, M) similarity a.b / (|a|^2 + |b|^2 - a.b) of two sets of vectors; 0 for zero vectors."""
    product = first @ second.T
    squares = first.square().sum(dim=1).unsqueeze(1) + second.square().sum(dim=1).unsqueeze(0)
    return product / (squares - product).clamp(min=1e-12)
