"""A ridge on perturbation features for each perturbation type, and the same with the own-gene effect.

A gene's knock-out and its over-expression have the same features and about opposite responses: one ridge for
both would learn their mean. With one type these start from the context mean.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pertcast.models.baselines.linear_algebra import fit_ridge, leading_components
from pertcast.models.baselines.own_gene import OwnGeneBaseline
from pertcast.models.baselines.perturbation_sets import set_groups
from pertcast.models.baselines.references import ReferenceBaseline, n_type_rows, type_rows
from pertcast.models.baselines.ridge import RidgeConfig, average_by
from pertcast.models.baselines.statistics import ConditionStatistics
from pertcast.models.batch import ConditionBatch, ModelSpace


class TypeRidge(ReferenceBaseline):
    """Reference mean + (intercept + (features - offset) @ coefficients) @ components, all of the type.

    The deviation from the reference mean is averaged over a perturbation set's conditions of the type, and
    each type chooses its penalty by leaving out every set in turn, exactly. A type that training did not hold
    has the context mean.
    """

    components: Tensor
    coefficients: Tensor
    offset: Tensor
    intercept: Tensor
    penalty: Tensor

    def __init__(self, config: RidgeConfig, space: ModelSpace, conditions: ConditionBatch) -> None:
        super().__init__(config, space, conditions)
        n_types, width = n_type_rows(space), space.feature_width
        count = min(config.n_components, space.n_conditions, space.n_genes)
        self.add_buffer("components", n_types, count, space.n_genes)
        self.add_buffer("coefficients", n_types, width, count)
        self.add_buffer("offset", n_types, width)
        self.add_buffer("intercept", n_types, count)
        self.add_buffer("penalty", n_types)

    def solve(self, statistics: ConditionStatistics) -> None:
        """Fit a ridge for each type."""
        reference = self.solve_reference_means(statistics)
        left_out = self.solve_ridges(statistics, statistics.condition_means() - reference)
        self.store("sd", statistics.residual_sd(reference + left_out))

    def solve_ridges(self, statistics: ConditionStatistics, deviation: Tensor) -> Tensor:
        """Store each type's ridge on the (C, G) deviations of the conditions; return it left out, (C, G).

        0 for conditions that were not measured or have no type.
        """
        conditions = self.training_conditions.to(deviation.device)
        groups, types = set_groups(conditions), type_rows(conditions, self.space)
        features = conditions.summed_features().to(deviation)
        solved = {name: self.get_buffer(name).to(deviation) for name in _SOLVED}
        left_out = torch.zeros_like(deviation)
        for row in range(n_type_rows(self.space)):
            members = torch.nonzero(statistics.measured() & (types == row)).flatten()
            if not len(members):
                continue
            member, (rows, design) = average_by(groups[members], deviation[members], features[members])
            components = leading_components(rows, self.components.shape[1])
            fit = fit_ridge(design, rows @ components.T, torch.arange(len(rows)).to(member))
            left_out[members] = (fit.left_out @ components)[member]
            penalty = torch.tensor(fit.penalty).to(deviation)
            found = (components, fit.coefficients, fit.offset, fit.intercept, penalty)
            for name, values in zip(_SOLVED, found, strict=True):
                solved[name][row] = values
        for name, values in solved.items():
            self.store(name, values)
        return left_out

    def mean(self, conditions: ConditionBatch) -> Tensor:
        """Return the prediction of each condition's type, (N, G)."""
        mean = self.reference_mean(conditions)
        features = conditions.summed_features().to(self.offset.dtype)
        types = type_rows(conditions, self.space)
        for row in range(n_type_rows(self.space)):
            scores = self.intercept[row] + (features - self.offset[row]) @ self.coefficients[row]
            mean = torch.where((types == row).unsqueeze(1), mean + scores @ self.components[row], mean)
        return mean


_SOLVED = ("components", "coefficients", "offset", "intercept", "penalty")


class RidgeOwnGene(TypeRidge, OwnGeneBaseline):
    """`TypeRidge` + the type's effect on the targeted gene, in that gene's sd.

    The ridge is fitted with the targeted genes' own deviations set to 0, so that it does not learn their
    spikes as a response; the effect is the average of what the left-out ridge leaves at the targeted gene.
    """

    def solve(self, statistics: ConditionStatistics) -> None:
        """Fit the ridges without the targeted genes, then the effects on these."""
        reference = self.solve_reference_means(statistics)
        measured = statistics.measured().unsqueeze(1)
        deviation = (statistics.condition_means() - reference) * measured
        left_out = self.solve_ridges(statistics, self.without_own_genes(deviation))
        self.solve_own_gene(statistics, deviation, deviation - left_out)
        conditions = self.training_conditions.to(deviation.device)
        self.store("sd", statistics.residual_sd(self.with_own_gene(reference + left_out, conditions)))

    def mean(self, conditions: ConditionBatch) -> Tensor:
        """Return the ridge's prediction with the targeted genes shifted, (N, G)."""
        return self.with_own_gene(super().mean(conditions), conditions)
