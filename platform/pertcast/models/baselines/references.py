"""The mean response that a baseline starts from: of the context, and of the perturbation's type in it.

Over-expression is about the opposite of a knock-out, so where a store holds several types a mean over all of
them is nobody's response. With one type everything here is the context mean.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pertcast.models.baselines.base import ContextBaseline
from pertcast.models.baselines.statistics import ConditionStatistics
from pertcast.models.batch import ConditionBatch, ModelSpace
from pertcast.models.contract import ModelConfig


def n_type_rows(space: ModelSpace) -> int:
    """Return R: the training types, and one more for combinations of several types where they may be."""
    n_types = len(space.pert_types)
    return n_types + int(n_types > 1 and space.max_slots > 1)


def type_rows(conditions: ConditionBatch, space: ModelSpace) -> Tensor:
    """Return (N,) int64 type of each condition: a row of `space.pert_types`, or one more for mixed types.

    -1 for a control, for a type that training did not hold, and for mixed types where training combines
    nothing.
    """
    filled, n_types = conditions.slot >= 0, len(space.pert_types)
    low = torch.where(filled, conditions.pert_type, n_types).amin(dim=1)
    high = torch.where(filled, conditions.pert_type, -1).amax(dim=1)
    mixed = n_types if n_type_rows(space) > n_types else -1
    row = torch.where(low == high, low, mixed)
    return torch.where(filled.any(dim=1) & (low >= 0), row, -1)


class ReferenceBaseline(ContextBaseline):
    """A baseline that starts from the mean of the type in the context.

    Of three means the one with the least error on left-out training conditions is taken for all: of the type
    in the context (the context's where the type was not measured there), of the type over all contexts, of
    the context over all types. A type that training did not hold has the context's mean.
    """

    reference_means: Tensor

    def __init__(self, config: ModelConfig, space: ModelSpace, conditions: ConditionBatch) -> None:
        super().__init__(config, space, conditions)
        self.has_types = len(space.pert_types) > 1
        if self.has_types:
            self.add_buffer("reference_means", len(space.contexts) + 1, n_type_rows(space) + 1, space.n_genes)

    def solve_reference_means(self, statistics: ConditionStatistics) -> Tensor:
        """Store the reference means; return them by training condition, (C, G) float64."""
        by_context = self.solve_context_means(statistics)
        if not self.has_types:
            return by_context
        conditions = self.training_conditions.to(by_context.device)
        row, column = self.context_row(conditions.context), self._type_column(conditions)
        table = self._chosen_means(statistics, conditions.context, column)
        self.store("reference_means", table)
        return table[row, column]

    def reference_mean(self, conditions: ConditionBatch) -> Tensor:
        """Return the (N, G) mean response that each condition starts from."""
        if not self.has_types:
            return self.context_mean(conditions)
        return self.reference_means[self.context_row(conditions.context), self._type_column(conditions)]

    def _type_column(self, conditions: ConditionBatch) -> Tensor:
        rows = type_rows(conditions, self.space)
        return torch.where(rows < 0, n_type_rows(self.space), rows)

    def _chosen_means(self, statistics: ConditionStatistics, context: Tensor, column: Tensor) -> Tensor:
        """Return (K + 1, R + 1, G): of the three means the one that forecasts left-out conditions best."""
        n_contexts, n_types = len(self.space.contexts), n_type_rows(self.space)
        of_both = statistics.type_means(
            context, n_contexts, torch.where(column == n_types, -1, column), n_types
        )
        of_type = of_both[-1:].expand_as(of_both).clone()
        of_type[:, -1] = of_both[:, -1]
        of_context = of_both[:, -1:].expand_as(of_both)
        measured = torch.nonzero(statistics.measured()).flatten()
        values = statistics.condition_means()[measured]
        errors = _left_out_errors(values, context[measured], column[measured], n_types + 1)
        return (of_both, of_type, of_context)[errors.index(min(errors))]


def _left_out_errors(values: Tensor, context: Tensor, column: Tensor, n_columns: int) -> list[float]:
    """Return the squared errors of the means of type and context, of type and of context, each left out."""
    place = context + 1
    overall = _mean_of_others(values, torch.zeros_like(place), torch.zeros_like(values))
    of_context = _mean_of_others(values, place, overall)
    of_type = _mean_of_others(values, column, of_context)
    of_both = _mean_of_others(values, place * n_columns + column, of_context)
    return [float((values - mean).square().sum()) for mean in (of_both, of_type, of_context)]


def _mean_of_others(values: Tensor, label: Tensor, fallback: Tensor) -> Tensor:
    """Return (C, G) the mean of the other rows of each one's label (C,) >= 0; `fallback` for the only one."""
    count = torch.bincount(label)
    sums = values.new_zeros(len(count), values.shape[1]).index_add_(0, label, values)
    number = count[label].unsqueeze(1)
    return torch.where(number > 1, (sums[label] - values) / (number - 1).clamp(min=1), fallback)
