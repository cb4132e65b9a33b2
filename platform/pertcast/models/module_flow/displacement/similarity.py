r"""How alike two perturbations are where they act: the covariance of their effects.

Between slot x of condition c and slot x' of c':

.. math:: k = a(type) \, a(dose) \, a(context) \, a(time) \,
          \big(\tau_0 + \tau_f \exp(-|u - u'|^2 / 2 l^2) + \tau_1 [p = p']\big)

with u the features at unit length. A product of correlations, each 1 for equal or missing values.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from pertcast.models.batch import ConditionBatch
from pertcast.models.module_flow.displacement.config import DisplacementConfig


@dataclass(frozen=True, slots=True)
class Amplitudes:
    """Shares of a single effect's variance: common to all, shared with alike ones, its own; and the length.

    Attributes
    ----------
    common, alike, own
        tau_0, tau_f and tau_1; their sum is 1.
    length
        l, of features at unit length.
    """

    common: float
    alike: float
    own: float
    length: float


@dataclass(frozen=True, slots=True)
class Slots:
    """The filled slots of N conditions, M in all, as one list.

    Attributes
    ----------
    condition
        (M,) int64, which condition each belongs to.
    table_row
        (M,) int64, row of `table`.
    perturbation, pert_type, context
        (M,) int64, -1 for unseen.
    log_dose, log_time
        (M,) float64, NaN for none.
    table
        (P, F') float64 features at unit length, without what only one training perturbation has.
    """

    condition: Tensor
    table_row: Tensor
    perturbation: Tensor
    pert_type: Tensor
    context: Tensor
    log_dose: Tensor
    log_time: Tensor
    table: Tensor

    def __len__(self) -> int:
        return int(self.condition.shape[0])

    def take(self, rows: Tensor) -> Slots:
        """Return the slots at `rows` (M',), an index or a mask; the table is shared."""
        values = {each.name: getattr(self, each.name)[rows] for each in fields(self) if each.name != "table"}
        return Slots(**values, table=self.table)


@dataclass(frozen=True, slots=True)
class SimilarityParts:
    """What M and M' slots have in common, (M, M') each: situation, squared distance, same perturbation."""

    situation: Tensor
    distance: Tensor
    same: Tensor

    def covariance(self, amplitudes: Amplitudes) -> Tensor:
        """Return (M, M') float64 covariance."""
        alike = torch.exp(self.distance / (-2 * amplitudes.length**2))
        effect = amplitudes.common + amplitudes.alike * alike + amplitudes.own * self.same
        return effect * self.situation


class SlotSimilarity(nn.Module):
    """Lists slots, and compares them.

    Parameters
    ----------
    config
        Correlations and lengths.
    features
        (P, F) of the training perturbations: a column that only one of them has says nothing of another one.
    """

    shared_columns: Tensor

    def __init__(self, config: DisplacementConfig, features: Tensor) -> None:
        super().__init__()
        self.config = config
        shared = (features != 0).sum(dim=0) > 1
        self.register_buffer("shared_columns", torch.nonzero(shared).flatten(), persistent=False)

    def slots(self, conditions: ConditionBatch) -> Slots:
        """Return the filled slots, condition by condition."""
        condition, place = torch.nonzero(conditions.slot >= 0, as_tuple=True)
        table = conditions.features[:, self.shared_columns].double()
        table = table / table.norm(dim=1, keepdim=True).clamp(min=1e-12)
        return Slots(
            condition=condition,
            table_row=conditions.slot[condition, place],
            perturbation=conditions.perturbation[condition, place],
            pert_type=conditions.pert_type[condition, place],
            context=conditions.context[condition],
            log_dose=conditions.log_dose[condition, place].double(),
            log_time=conditions.log_time[condition].double(),
            table=table,
        )

    def situation(self, first: Slots, second: Slots) -> Tensor:
        """Return (M, M') float64: the correlations of type, dose, context and time."""
        config = self.config
        found = _same(first.pert_type, second.pert_type, config.type_correlation)
        found *= _same(first.context, second.context, config.context_correlation)
        found *= _near(first.log_dose, second.log_dose, config.dose_length)
        found *= _near(first.log_time, second.log_time, config.time_length)
        return found

    def distance(self, first: Slots, second: Slots) -> Tensor:
        """Return (M, M') float64 squared distances of the features."""
        lengths = first.table.square().sum(dim=1, keepdim=True) + second.table.square().sum(dim=1)
        squared = (lengths - 2 * first.table @ second.table.T).clamp(min=0)
        return squared[first.table_row][:, second.table_row]

    def parts(self, first: Slots, second: Slots) -> SimilarityParts:
        """Return what a covariance is made of, whatever its amplitudes."""
        same = first.perturbation.unsqueeze(1) == second.perturbation
        same &= (first.perturbation >= 0).unsqueeze(1)
        return SimilarityParts(self.situation(first, second), self.distance(first, second), same)

    def covariance(self, first: Slots, second: Slots, amplitudes: Amplitudes) -> Tensor:
        """Return (M, M') float64, 1 for a slot with itself."""
        return self.parts(first, second).covariance(amplitudes)


def _same(first: Tensor, second: Tensor, correlation: float) -> Tensor:
    equal = (first.unsqueeze(1) == second) & (first >= 0).unsqueeze(1)
    return torch.where(equal, 1.0, correlation).double()


def _near(first: Tensor, second: Tensor, length: float) -> Tensor:
    apart = (first.unsqueeze(1) - second).nan_to_num(nan=0.0)
    return torch.exp(-apart.square() / (2 * length**2))


def summed_by_condition(values: Tensor, condition: Tensor, count: int, dim: int) -> Tensor:
    """Return `values` with its slots' axis `dim` summed over the slots of each of `count` conditions."""
    shape = list(values.shape)
    shape[dim] = count
    return values.new_zeros(shape).index_add_(dim, condition, values)
