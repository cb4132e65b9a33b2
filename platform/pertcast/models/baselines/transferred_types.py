"""What another type of perturbation of the same gene tells about this one: a knock-out from a knock-down.

Closed form: for each ordered pair of types one shrunk linear map between deviations from the types' means.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from pertcast.models.baselines.linear_algebra import leading_components
from pertcast.models.baselines.own_gene import OwnGeneBaseline
from pertcast.models.baselines.perturbation_sets import untyped_identity
from pertcast.models.baselines.references import n_type_rows, type_rows
from pertcast.models.baselines.statistics import ConditionStatistics
from pertcast.models.baselines.type_maps import FEWEST_SHARED, fit_type_map, map_rows
from pertcast.models.batch import ConditionBatch, ModelSpace
from pertcast.models.contract import ModelConfig


class TransferConfig(ModelConfig):
    """Configuration of the transfer between types.

    Attributes
    ----------
    n_components
        Leading components of the training responses that have slopes of their own, at most.
    """

    n_components: int = Field(64, ge=1)


class TransferredTypes(OwnGeneBaseline):
    """Reference mean + what the same perturbation's other types tell, mapped to this type + own-gene effect.

    A perturbation's deviation from the reference mean is averaged over its training conditions of a type,
    its targeted genes left out. Maps (`fit_type_map`) of several other types are averaged, weighted by
    their reliability; a mean of shrunk maps is shrunk twice, so one number a type, fitted on left-out
    training perturbations, undoes it. Where no other type was measured, or none tells anything, what is left
    is the mean of the type with its effect on the targeted gene.
    """

    deviation: Tensor
    is_measured: Tensor
    components: Tensor
    slopes: Tensor
    component_slopes: Tensor
    reliability: Tensor
    rescaling: Tensor
    entry_of_condition: Tensor
    known_sets: Tensor
    entry_of_set: Tensor

    def __init__(self, config: TransferConfig, space: ModelSpace, conditions: ConditionBatch) -> None:
        super().__init__(config, space, conditions)
        n_types = n_type_rows(space)
        n_entries = self._lay_out_entries(conditions, n_types)
        count = min(config.n_components, space.n_conditions, space.n_genes)
        self.add_buffer("deviation", n_entries, space.n_genes)
        self.add_buffer("is_measured", n_entries)
        self.add_buffer("components", count, space.n_genes)
        self.add_buffer("slopes", n_types, n_types)
        self.add_buffer("component_slopes", n_types, n_types, count)
        self.add_buffer("reliability", n_types, n_types)
        self.add_buffer("rescaling", n_types)

    def _lay_out_entries(self, conditions: ConditionBatch, n_types: int) -> int:
        """Give the entries (perturbation set, type) of training their numbers; return how many there are."""
        identity, types = untyped_identity(conditions), type_rows(conditions, self.space)
        usable = torch.nonzero((identity != 0) & (types >= 0)).flatten()
        sets, member = torch.unique(identity[usable], return_inverse=True)
        places, entry = torch.unique(member * n_types + types[usable], return_inverse=True)
        of_condition = torch.full_like(identity, -1)
        of_condition[usable] = entry
        of_set = torch.full((len(sets) * n_types,), -1, dtype=torch.int64)
        of_set[places] = torch.arange(len(places))
        self.register_buffer("entry_of_condition", of_condition, persistent=False)
        self.register_buffer("known_sets", sets, persistent=False)
        self.register_buffer("entry_of_set", of_set.view(len(sets), n_types), persistent=False)
        return len(places)

    def solve(self, statistics: ConditionStatistics) -> None:
        """Average the deviations by perturbation and type, and fit the maps between types."""
        reference = self.solve_reference_means(statistics)
        measured = statistics.measured()
        deviation = (statistics.condition_means() - reference) * measured.unsqueeze(1)
        entries = self.entry_of_condition.to(deviation.device)
        usable = torch.nonzero(measured & (entries >= 0)).flatten()
        sums = deviation.new_zeros(self.deviation.shape)
        sums.index_add_(0, entries[usable], self.without_own_genes(deviation)[usable])
        number = torch.bincount(entries[usable], minlength=len(sums))
        self.store("deviation", sums / number.clamp(min=1).unsqueeze(1))
        self.store("is_measured", number > 0)
        self.store(
            "components", leading_components(self.deviation[self.is_measured > 0], len(self.components))
        )
        transferred = torch.zeros_like(deviation)
        transferred[usable] = self._solve_maps()[entries[usable]]
        self.solve_own_gene(statistics, deviation, deviation - transferred)
        conditions = self.training_conditions.to(deviation.device)
        self.store("sd", statistics.residual_sd(self.with_own_gene(reference + transferred, conditions)))

    def _solve_maps(self) -> Tensor:
        """Store the maps; return what the other types tell of each entry by maps without it, (E, G)."""
        deviation, components = self.deviation.double(), self.components.double()
        votes = _Votes.none(deviation)
        for source, target in _ordered_pairs(self.entry_of_set.shape[1]):
            first, second = self.entry_of_set[:, source], self.entry_of_set[:, target]
            both = torch.nonzero(self._is_known(first) & self._is_known(second)).flatten()
            found = fit_type_map(deviation[first[both]], deviation[second[both]], components)
            self.slopes[source, target] = found.slope[0]
            self.component_slopes[source, target] = found.component_slopes
            self.reliability[source, target] = found.reliability
            told, weight = torch.zeros_like(deviation), torch.zeros_like(deviation[:, :1])
            told[second[both]], weight[second[both]] = found.left_out, found.reliability
            votes.add(told, weight)
        factors = deviation.new_ones(len(deviation))
        for target, entries in enumerate(self.entry_of_set.T):
            known = entries[self._is_known(entries)]
            self.rescaling[target] = votes.rescaling(known, deviation)
            factors[known] = self.rescaling[target].double()
        return votes.mean(factors)

    def _is_known(self, entries: Tensor) -> Tensor:
        """Return which of the entries (M,) were measured; -1 was not."""
        return (entries >= 0) & (self.is_measured[entries.clamp(min=0)] > 0)

    def mean(self, conditions: ConditionBatch) -> Tensor:
        """Return what the other types tell, the means and the own-gene effect added, (N, G)."""
        reference = self.reference_mean(conditions)
        if not len(self.known_sets):
            return self.with_own_gene(reference, conditions)
        identity, types = untyped_identity(conditions), type_rows(conditions, self.space)
        row = torch.searchsorted(self.known_sets, identity).clamp(max=len(self.known_sets) - 1)
        entries = torch.where((self.known_sets[row] == identity).unsqueeze(1), self.entry_of_set[row], -1)
        votes = _Votes.none(reference)
        target = types.clamp(min=0)
        for source in range(self.entry_of_set.shape[1]):
            known = self._is_known(entries[:, source]) & (types >= 0) & (types != source)
            slopes = self.slopes[source, target].unsqueeze(1), self.component_slopes[source, target]
            rows = self.deviation[entries[:, source].clamp(min=0)]
            told = map_rows(rows, *slopes, self.components)
            votes.add(told, (known * self.reliability[source, target]).unsqueeze(1))
        transferred = votes.mean(self.rescaling[target])
        return self.with_own_gene(reference + transferred, conditions)


def _ordered_pairs(n_types: int) -> list[tuple[int, int]]:
    return [(source, target) for source in range(n_types) for target in range(n_types) if source != target]


@dataclass(frozen=True)
class _Votes:
    """What several types tell of N responses: weighted sums (N, G), weights and how many told, (N, 1)."""

    total: Tensor
    weight: Tensor
    number: Tensor

    @classmethod
    def none(cls, like: Tensor) -> _Votes:
        """Return zeros for responses like (N, G)."""
        return cls(torch.zeros_like(like), torch.zeros_like(like[:, :1]), torch.zeros_like(like[:, :1]))

    def add(self, told: Tensor, weight: Tensor) -> None:
        """Add what one type tells (N, G) with its weight (N, 1), 0 where it tells nothing."""
        self.total.add_(weight * told)
        self.weight.add_(weight)
        self.number.add_(weight > 0)

    def mean(self, rescaling: Tensor) -> Tensor:
        """Return the (N, G) weighted means, times `rescaling` (N,) where several types tell; else 0."""
        factor = torch.where(self.number > 1, rescaling.unsqueeze(1).to(self.total.dtype), 1.0)
        return factor * self.total / torch.where(self.weight > 0, self.weight, 1.0)

    def rescaling(self, rows: Tensor, truth: Tensor) -> float:
        """Return the factor that fits the means of `rows` of which several types tell to `truth` (N, G)."""
        several = rows[self.number[rows, 0] > 1]
        mean = self.total[several] / self.weight[several]
        square = float(mean.square().sum())
        if len(several) < FEWEST_SHARED or square <= 0:
            return 1.0
        return float((mean * truth[several]).sum()) / square
