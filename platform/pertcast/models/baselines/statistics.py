"""The sums that every baseline is solved from, and the stage that gathers them.

One pass over the training rows serves all baselines: the sums depend on the space alone, so
evaluation accumulates them once and hands them to each baseline's `finish`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pertcast.models.batch import Batch, ModelSpace
from pertcast.models.contract import StatisticsStage


@dataclass(frozen=True)
class ConditionStatistics:
    """Sums over the training rows, all float64.

    Attributes
    ----------
    target_sum
        (C, G) sum of the targets of each training condition.
    count
        (C,) rows of each training condition.
    square_sum
        (G,) sum of squared targets.
    group_sum, group_count
        (P, G) and (P,): the same sums by group (plate or batch).
    ungrouped_sum, ungrouped_count
        (K + 1, G) and (K + 1,): rows without a known group, by context; last for an unseen context.
    """

    target_sum: Tensor
    count: Tensor
    square_sum: Tensor
    group_sum: Tensor
    group_count: Tensor
    ungrouped_sum: Tensor
    ungrouped_count: Tensor

    @property
    def n_rows(self) -> Tensor:
        """Number of training rows, a scalar."""
        return self.count.sum()

    def measured(self) -> Tensor:
        """Return (C,) bool: conditions with at least one row."""
        return self.count > 0

    def condition_means(self) -> Tensor:
        """Return the (C, G) mean response of each condition, zero where it has no rows."""
        return self.target_sum / self.count.clamp(min=1).unsqueeze(1)

    def train_mean(self) -> Tensor:
        """Return the (G,) mean over conditions of their means: each condition counts once."""
        return self.condition_means()[self.measured()].sum(dim=0) / self.measured().sum().clamp(min=1)

    def context_means(self, context: Tensor, n_contexts: int) -> Tensor:
        """Return (K + 1, G): mean of each context's condition means; the last row is the train mean.

        Parameters
        ----------
        context
            (C,) int64 context of each training condition.
        n_contexts
            K. A context without a measured condition gets the train mean.
        """
        overall = self.train_mean()
        seen = self.measured() & (context.to(self.count.device) >= 0)
        index = context.to(self.count.device)[seen]
        sums = overall.new_zeros(n_contexts + 1, overall.shape[0])
        sums.index_add_(0, index, self.condition_means()[seen])
        number = torch.bincount(index, minlength=n_contexts + 1).unsqueeze(1)
        return torch.where(number > 0, sums / number.clamp(min=1), overall)

    def type_means(self, context: Tensor, n_contexts: int, pert_type: Tensor, n_types: int) -> Tensor:
        """Return (K + 1, R + 1, G): mean of the condition means of each type in each context.

        The last context row is over all contexts, the last type row over all types: `context_means`. A type
        without a measured condition in a context has the context's mean.

        Parameters
        ----------
        context, n_contexts
            (C,) int64 and K, as in `context_means`.
        pert_type
            (C,) int64 type of each training condition (`references.type_rows`), -1 for none.
        n_types
            R.
        """
        device = self.count.device
        fallback = self.context_means(context, n_contexts).unsqueeze(1)
        seen = self.measured() & (pert_type.to(device) >= 0)
        values, column = self.condition_means()[seen], pert_type.to(device)[seen]
        place = context.to(device)[seen]
        sums = values.new_zeros((n_contexts + 1) * (n_types + 1), values.shape[1])
        number = values.new_zeros(len(sums), 1)
        for rows, chosen in ((place, place >= 0), (torch.full_like(place, n_contexts), place >= -1)):
            index = (rows * (n_types + 1) + column)[chosen]
            sums.index_add_(0, index, values[chosen])
            number.index_add_(0, index, torch.ones_like(values[chosen][:, :1]))
        shape = (n_contexts + 1, n_types + 1, -1)
        means = (sums / number.clamp(min=1)).view(shape)
        return torch.where(number.view(shape) > 0, means, fallback)

    def residual_sd(self, predicted: Tensor) -> Tensor:
        """Return the (G,) float64 sd of the rows around `predicted` (C, G), the response of each condition.

        sum (y - p)^2 = sum y^2 - 2 sum_c p_c . sum y + sum_c n_c p_c^2.
        """
        prediction = predicted.to(self.target_sum)
        cross = (prediction * self.target_sum).sum(dim=0)
        model = (self.count.unsqueeze(1) * prediction.square()).sum(dim=0)
        residual = self.square_sum - 2 * cross + model
        return (residual.clamp(min=0) / self.n_rows.clamp(min=1)).sqrt()


class ConditionMeansStage(StatisticsStage):
    """Sums of targets by condition and by group, handed to `solve`.

    Parameters
    ----------
    space
        Facts of the training store; alone decides which sums there are.
    solve
        Called with the sums of all workers.
    """

    name = "condition_means"

    def __init__(self, space: ModelSpace, solve: Callable[[ConditionStatistics], None]) -> None:
        self.space = space
        self.solve = solve

    def start(self) -> dict[str, Tensor]:
        """Return zeroed sums, float64."""
        genes, contexts, groups = self.space.n_genes, len(self.space.contexts), len(self.space.groups)
        shapes: dict[str, tuple[int, ...]] = {
            "target_sum": (self.space.n_conditions, genes),
            "count": (self.space.n_conditions,),
            "square_sum": (genes,),
            "group_sum": (groups, genes),
            "group_count": (groups,),
            "ungrouped_sum": (contexts + 1, genes),
            "ungrouped_count": (contexts + 1,),
        }
        return {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}

    def update(self, sums: dict[str, Tensor], batch: Batch) -> None:
        """Add the training rows of one batch (rows with condition_index -1 are left out)."""
        device = sums["target_sum"].device
        kept = batch.condition_index >= 0
        target = batch.target[kept].to(device, torch.float64)
        _add_rows(sums, "target_sum", "count", batch.condition_index[kept].to(device), target)
        sums["square_sum"] += target.square().sum(dim=0)
        group = batch.conditions.group[kept].to(device)
        context = batch.conditions.context[kept].to(device)
        place = torch.where(context < 0, len(self.space.contexts), context)
        grouped = group >= 0
        _add_rows(sums, "group_sum", "group_count", group[grouped], target[grouped])
        _add_rows(sums, "ungrouped_sum", "ungrouped_count", place[~grouped], target[~grouped])

    def finish(self, sums: Mapping[str, Tensor]) -> None:
        """Solve from the sums of all workers."""
        self.solve(ConditionStatistics(**dict(sums)))


def _add_rows(sums: dict[str, Tensor], total: str, count: str, index: Tensor, rows: Tensor) -> None:
    sums[total].index_add_(0, index, rows)
    sums[count].index_add_(0, index, torch.ones_like(index, dtype=torch.float64))
