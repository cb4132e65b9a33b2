"""Mean response plus the effect that genetic perturbations have on their own gene."""

from __future__ import annotations

import torch
from torch import Tensor

from pertcast.models.baselines.references import ReferenceBaseline
from pertcast.models.baselines.statistics import ConditionStatistics
from pertcast.models.batch import ConditionBatch, ModelSpace
from pertcast.models.contract import ModelConfig


class OwnGeneBaseline(ReferenceBaseline):
    """A baseline that adds the effect of the perturbation's type on the targeted gene, in that gene's sd.

    The effect is the average over training conditions of what the baseline leaves at the targeted gene, over
    the gene's sd: one number a perturbation type. The sd is that of the deviations from the reference mean
    of the conditions which do not target the gene.
    """

    effect: Tensor
    gene_scale: Tensor

    def __init__(self, config: ModelConfig, space: ModelSpace, conditions: ConditionBatch) -> None:
        super().__init__(config, space, conditions)
        self.add_buffer("effect", len(space.pert_types) + 1)
        self.add_buffer("gene_scale", space.n_genes)

    def solve_own_gene(self, statistics: ConditionStatistics, deviation: Tensor, remaining: Tensor) -> None:
        """Average what remains at the targeted genes by type.

        Parameters
        ----------
        statistics
            Tells which conditions were measured.
        deviation
            (C, G) float64 deviation from the reference mean, 0 where not measured: gives the genes' sd.
        remaining
            (C, G) what the rest of the baseline does not predict of it.
        """
        measured = statistics.measured().unsqueeze(1)
        scale = self._scale(deviation, measured)
        self.store("gene_scale", scale)
        self.store("effect", self._effects(remaining / scale.clamp(min=1e-12), measured))

    def without_own_genes(self, deviation: Tensor) -> Tensor:
        """Return the (C, G) deviations of the training conditions with 0 at their targeted genes."""
        gene = self.training_conditions.own_gene.to(deviation.device)
        kept = torch.ones_like(deviation)
        kept.scatter_reduce_(1, gene.clamp(min=0), (gene < 0).to(kept), reduce="amin")
        return deviation * kept

    def with_own_gene(self, mean: Tensor, conditions: ConditionBatch) -> Tensor:
        """Return `mean` (N, G) with the targeted genes shifted."""
        gene = conditions.own_gene.clamp(min=0)
        shift = self.effect[self._effect_row(conditions.pert_type)] * self.gene_scale[gene]
        return mean.scatter_add(1, gene, (shift * (conditions.own_gene >= 0)).to(mean.dtype))

    def _scale(self, deviation: Tensor, measured: Tensor) -> Tensor:
        others = self.without_own_genes(measured.to(deviation.dtype).expand_as(deviation))
        return ((deviation.square() * others).sum(dim=0) / others.sum(dim=0).clamp(min=1)).sqrt()

    def _effects(self, standardised: Tensor, measured: Tensor) -> Tensor:
        gene = self.training_conditions.own_gene.to(standardised.device)
        pert_type = self.training_conditions.pert_type.to(standardised.device)
        known = (gene >= 0) & measured
        values = standardised.gather(1, gene.clamp(min=0))[known]
        row = self._effect_row(pert_type)[known]
        number = torch.bincount(row, minlength=len(self.effect)).clamp(min=1)
        return values.new_zeros(len(self.effect)).index_add_(0, row, values) / number

    def _effect_row(self, pert_type: Tensor) -> Tensor:
        """Return the row of `effect`; the last, always zero, for a type not seen in training."""
        return torch.where(pert_type < 0, len(self.space.pert_types), pert_type)


class OwnGene(OwnGeneBaseline):
    """Reference mean (of the context, or of the type in it) + own-gene effect of the type."""

    def solve(self, statistics: ConditionStatistics) -> None:
        """Average the standardised responses of the targeted genes by type."""
        reference = self.solve_reference_means(statistics)
        measured = statistics.measured().unsqueeze(1)
        deviation = (statistics.condition_means() - reference) * measured
        self.solve_own_gene(statistics, deviation, deviation)
        predicted = self.mean(self.training_conditions.to(self.effect.device))
        self.store("sd", statistics.residual_sd(predicted))

    def mean(self, conditions: ConditionBatch) -> Tensor:
        """Return the reference mean with the targeted genes shifted, (N, G)."""
        return self.with_own_gene(self.reference_mean(conditions), conditions)
