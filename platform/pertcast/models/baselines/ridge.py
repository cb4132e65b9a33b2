"""Linear baselines on perturbation features, in the space of the leading training responses.

Both start from the mean of the context, so with an infinite penalty they are the context mean; the
penalty is chosen by leaving every perturbation out in turn, on training conditions alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from pertcast.models.baselines.base import ContextBaseline
from pertcast.models.baselines.linear_algebra import fit_ridge, leading_components
from pertcast.models.baselines.perturbation_sets import set_groups
from pertcast.models.baselines.statistics import ConditionStatistics
from pertcast.models.batch import ConditionBatch, ModelSpace
from pertcast.models.contract import ModelConfig


class RidgeConfig(ModelConfig):
    """Configuration of the linear baselines.

    Attributes
    ----------
    n_components
        Leading components of the training responses that are predicted, at most.
    """

    n_components: int = Field(128, ge=1)


class _ComponentRidge(ContextBaseline):
    """Context mean + (intercept + (design - offset) @ coefficients) @ components."""

    components: Tensor
    coefficients: Tensor
    offset: Tensor
    intercept: Tensor
    penalty: Tensor

    def __init__(
        self, config: RidgeConfig, space: ModelSpace, conditions: ConditionBatch, width: int
    ) -> None:
        super().__init__(config, space, conditions)
        count = min(config.n_components, space.n_conditions, space.n_genes)
        self.add_buffer("components", count, space.n_genes)
        self.add_buffer("coefficients", width, count)
        self.add_buffer("offset", width)
        self.add_buffer("intercept", count)
        self.add_buffer("penalty", 1)

    def design(self, conditions: ConditionBatch) -> Tensor:
        """Return the (N, width) design of conditions."""
        raise NotImplementedError

    def mean(self, conditions: ConditionBatch) -> Tensor:
        """Return the linear prediction, (N, G)."""
        scores = self.intercept + (self.design(conditions) - self.offset) @ self.coefficients
        return self.context_mean(conditions) + scores @ self.components

    def solve_ridge(self, rows: Tensor, design: Tensor, groups: Tensor) -> Tensor:
        """Store components and coefficients of `rows` (R, G); return their left-out prediction (R, G)."""
        components = leading_components(rows, self.components.shape[0])
        fit = fit_ridge(design, rows @ components.T, groups)
        self.store("components", components)
        self.store("coefficients", fit.coefficients)
        self.store("offset", fit.offset)
        self.store("intercept", fit.intercept)
        self.store("penalty", torch.tensor([fit.penalty]))
        return fit.left_out @ components


def average_by(groups: Tensor, *tables: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return (M,) numbers 0..R-1 of the distinct `groups` (M,), and each table (M, W) averaged by them."""
    distinct, member = torch.unique(groups, return_inverse=True)
    number = torch.bincount(member, minlength=len(distinct)).unsqueeze(1)
    shapes = [(len(distinct), table.shape[1]) for table in tables]
    sums = [t.new_zeros(s).index_add_(0, member, t) for t, s in zip(tables, shapes, strict=True)]
    return member, [total / number for total in sums]


class BilinearRidge(_ComponentRidge):
    """Training response components x perturbation features, one row a perturbation set.

    The deviation from the context mean is averaged over a set's conditions (doses, times, contexts), so
    leaving one row out leaves the whole perturbation out. After Ahlmann-Eltze, Huber & Anders (2025).
    """

    def __init__(self, config: RidgeConfig, space: ModelSpace, conditions: ConditionBatch) -> None:
        super().__init__(config, space, conditions, space.feature_width)

    def design(self, conditions: ConditionBatch) -> Tensor:
        """Return the summed features, (N, F)."""
        return conditions.summed_features().to(self.offset.dtype)

    def solve(self, statistics: ConditionStatistics) -> None:
        """Average by perturbation set and fit the ridge."""
        by_context = self.solve_context_means(statistics)
        deviation = statistics.condition_means() - by_context
        measured = torch.nonzero(statistics.measured()).flatten()
        groups = set_groups(self.training_conditions).to(measured.device)
        features = self.design(self.training_conditions.to(self.offset.device)).to(deviation)
        member, (rows, design) = average_by(groups[measured], deviation[measured], features[measured])
        left_out = self.solve_ridge(rows, design, torch.arange(len(rows)).to(member))
        predicted = by_context.index_add(0, measured, left_out[member])
        self.store("sd", statistics.residual_sd(predicted))


class _Scale(NamedTuple):
    """Centre and width of a logarithm over the training conditions."""

    centre: float
    width: float

    @classmethod
    def of(cls, values: Tensor) -> _Scale:
        known = values[~values.isnan()].double()
        if known.numel() == 0:
            return cls(0.0, 1.0)
        width = float(known.std(correction=0))
        return cls(float(known.mean()), width if width > 1e-3 else 1.0)

    def __call__(self, values: Tensor) -> Tensor:
        """Return standardised values, 0 where missing."""
        return ((values - self.centre) / self.width).nan_to_num(nan=0.0)


class FingerprintRidge(_ComponentRidge):
    """Features + log dose + dose x features + log time, over the context mean.

    Columns: sum over slots of [features | features * dose | dose | has dose], then time and has time;
    dose and time are standardised logarithms. The feature blocks are scaled to the weight of one column.
    """

    def __init__(self, config: RidgeConfig, space: ModelSpace, conditions: ConditionBatch) -> None:
        super().__init__(config, space, conditions, 2 * space.feature_width + 4)
        self.dose_scale = _Scale.of(conditions.log_dose)
        self.time_scale = _Scale.of(conditions.log_time)
        squares = conditions.summed_features().double().square().sum(dim=1)
        self.feature_scale = float(squares.mean().sqrt().clamp(min=1e-6)) if len(squares) else 1.0

    def design(self, conditions: ConditionBatch) -> Tensor:
        """Return the (N, 2 F + 4) design."""
        features, filled = conditions.slot_features()
        features = features.to(self.offset.dtype) / self.feature_scale
        dose = (self.dose_scale(conditions.log_dose) * filled).to(features)
        time = self.time_scale(conditions.log_time).to(features)
        columns = (
            features.sum(dim=1),
            (features * dose.unsqueeze(-1)).sum(dim=1),
            dose.sum(dim=1, keepdim=True),
            (filled & ~conditions.log_dose.isnan()).sum(dim=1, keepdim=True).to(features),
            time.unsqueeze(1),
            (~conditions.log_time.isnan()).unsqueeze(1).to(features),
        )
        return torch.cat(columns, dim=1)

    def solve(self, statistics: ConditionStatistics) -> None:
        """Fit the ridge over the training conditions; a perturbation's doses are left out together."""
        by_context = self.solve_context_means(statistics)
        measured = torch.nonzero(statistics.measured()).flatten()
        groups = set_groups(self.training_conditions).to(measured.device)[measured]
        design = self.design(self.training_conditions.to(self.offset.device)).to(by_context)[measured]
        deviation = (statistics.condition_means() - by_context)[measured]
        left_out = self.solve_ridge(deviation, design, groups)
        self.store("sd", statistics.residual_sd(by_context.index_add(0, measured, left_out)))
