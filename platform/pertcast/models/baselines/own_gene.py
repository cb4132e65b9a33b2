"""Mean response plus the effect that genetic perturbations have on their own gene."""

from __future__ import annotations

import torch
from torch import Tensor

from pertcast.models.baselines.base import ContextBaseline
from pertcast.models.baselines.statistics import ConditionStatistics
from pertcast.models.batch import ConditionBatch, ModelSpace
from pertcast.models.contract import ModelConfig


class OwnGene(ContextBaseline):
    """Context mean + effect of the perturbation's type on the targeted gene, in that gene's sd.

    The effect is the average over training conditions of (response - context mean) / sd at the targeted
    gene, one number a perturbation type; sd is that of the conditions' means which do not target the gene.
    """

    effect: Tensor
    gene_scale: Tensor

    def __init__(self, config: ModelConfig, space: ModelSpace, conditions: ConditionBatch) -> None:
        super().__init__(config, space, conditions)
        self.add_buffer("effect", len(space.pert_types) + 1)
        self.add_buffer("gene_scale", space.n_genes)

    def solve(self, statistics: ConditionStatistics) -> None:
        """Average the standardised responses of the targeted genes by type."""
        by_context = self.solve_context_means(statistics)
        measured = statistics.measured().unsqueeze(1)
        deviation = (statistics.condition_means() - by_context) * measured
        scale = self._scale(deviation, measured)
        self.store("gene_scale", scale)
        self.store("effect", self._effects(deviation / scale.clamp(min=1e-12), measured))
        predicted = self.mean(self.training_conditions.to(self.effect.device))
        self.store("sd", statistics.residual_sd(predicted))

    def _scale(self, deviation: Tensor, measured: Tensor) -> Tensor:
        gene = self.training_conditions.own_gene.to(deviation.device)
        others = measured.to(deviation.dtype).expand_as(deviation).clone()
        others.scatter_reduce_(1, gene.clamp(min=0), (gene < 0).to(others), reduce="amin")
        return ((deviation.square() * others).sum(dim=0) / others.sum(dim=0).clamp(min=1)).sqrt()

    def _effects(self, standardised: Tensor, measured: Tensor) -> Tensor:
        gene = self.training_conditions.own_gene.to(standardised.device)
        pert_type = self.training_conditions.pert_type.to(standardised.device)
        known = (gene >= 0) & measured
        values = standardised.gather(1, gene.clamp(min=0))[known]
        row = self._type_row(pert_type)[known]
        number = torch.bincount(row, minlength=len(self.effect)).clamp(min=1)
        return values.new_zeros(len(self.effect)).index_add_(0, row, values) / number

    def _type_row(self, pert_type: Tensor) -> Tensor:
        """Return the row of `effect`; the last, always zero, for a type not seen in training."""
        return torch.where(pert_type < 0, len(self.space.pert_types), pert_type)

    def mean(self, conditions: ConditionBatch) -> Tensor:
        """Return the context mean with the targeted genes shifted, (N, G)."""
        gene = conditions.own_gene.clamp(min=0)
        shift = self.effect[self._type_row(conditions.pert_type)] * self.gene_scale[gene]
        return self.context_mean(conditions).scatter_add(1, gene, shift * (conditions.own_gene >= 0))
