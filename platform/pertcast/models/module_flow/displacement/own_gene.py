r"""What a perturbation does to its own gene's transcript, which no other gene tells.

.. math:: r = \alpha_{type} + \beta_{type} \, b + \delta_{p, type}

with b the basal expression (a knock-out takes a share of what is there) and :math:`\delta` what a measured
perturbation differs by, shrunk by empirical Bayes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from pertcast.models.batch import Batch, ConditionBatch, ModelSpace
from pertcast.models.contract import StatisticsStage

_RIDGE: Final = 1e-2


class OwnGeneEffect(nn.Module):
    """Response of the targeted genes themselves.

    Attributes
    ----------
    intercept, slope
        (T + 1,) of each pert_type; the last one for an unseen type: the mean of the others.
    deviation
        (P + 1, T + 1) of the training perturbations; the last row and column are 0.
    is_known
        () 1 where some training perturbation targets a gene of the gene space, else 0.
    """

    intercept: Tensor
    slope: Tensor
    deviation: Tensor
    is_known: Tensor

    def __init__(self, space: ModelSpace) -> None:
        super().__init__()
        types, perturbations = len(space.pert_types) + 1, len(space.perturbations) + 1
        self.register_buffer("intercept", torch.zeros(types))
        self.register_buffer("slope", torch.zeros(types))
        self.register_buffer("deviation", torch.zeros(perturbations, types))
        self.register_buffer("is_known", torch.zeros(()))

    def forward(self, conditions: ConditionBatch, basal: Tensor) -> tuple[Tensor, Tensor]:
        """Return the responses of the slots' own genes, and whether each is stated.

        Parameters
        ----------
        conditions
            N conditions of S slots.
        basal
            (N, G) basal profiles.

        Returns
        -------
        tuple
            (N, S) float32 and (N, S) bool.
        """
        kind = _last_if_negative(conditions.pert_type, len(self.intercept))
        perturbation = _last_if_negative(conditions.perturbation, len(self.deviation))
        level = basal.gather(1, conditions.own_gene.clamp(min=0))
        response = self.intercept[kind] + self.slope[kind] * level + self.deviation[perturbation, kind]
        return response, (conditions.own_gene >= 0) & (self.is_known > 0)

    def put(self, response: Tensor, conditions: ConditionBatch, basal: Tensor) -> Tensor:
        """Return responses (N, G) with the own genes' set."""
        own, stated = self(conditions, basal)
        index = torch.where(stated, conditions.own_gene, 0)
        current = response.gather(1, index)
        # An empty slot points at gene 0 and must leave it as it is: only differences are added.
        return response.scatter_add(1, index, torch.where(stated, own - current, 0.0))


def _last_if_negative(index: Tensor, size: int) -> Tensor:
    return torch.where(index < 0, size - 1, index)


class OwnGeneStage(StatisticsStage):
    """Fits `OwnGeneEffect` from the rows with a single perturbation."""

    name = "own_gene"

    def __init__(self, effect: OwnGeneEffect) -> None:
        self.effect = effect

    def start(self) -> dict[str, Tensor]:
        """Return zeroed sums, float64."""
        shape = self.effect.deviation.shape
        names = ("count", "response", "square", "basal")
        return {name: torch.zeros(shape, dtype=torch.float64) for name in names}

    def update(self, sums: dict[str, Tensor], batch: Batch) -> None:
        """Add one batch."""
        conditions = batch.conditions
        usable = (conditions.own_gene >= 0) & (conditions.perturbation >= 0)
        usable &= ((conditions.slot >= 0).sum(dim=1) == 1).unsqueeze(1)
        row, place = torch.nonzero(usable, as_tuple=True)
        kind = _last_if_negative(conditions.pert_type[row, place], sums["count"].shape[1])
        at = (conditions.perturbation[row, place], kind)
        gene = conditions.own_gene[row, place]
        response = batch.target[row, gene].to(sums["count"])
        basal = batch.basal[row, gene].to(sums["count"])
        ones = torch.ones_like(response)
        for name, value in (("count", ones), ("response", response), ("basal", basal)):
            sums[name].index_put_(at, value, accumulate=True)
        sums["square"].index_put_(at, response.square(), accumulate=True)

    def finish(self, sums: Mapping[str, Tensor]) -> None:
        """Fit a line a type, and what each perturbation differs by."""
        effect, count = self.effect, sums["count"]
        known = count > 0
        for buffer in (effect.intercept, effect.slope, effect.deviation, effect.is_known):
            buffer.zero_()
        if not bool(known.any()):
            return
        mean, basal = (sums[name] / count.clamp(min=1) for name in ("response", "basal"))
        within = (sums["square"] - count * mean.square()).clamp(min=0).sum()
        noise = float(within / (count.sum() - known.sum()).clamp(min=1))
        for kind in range(count.shape[1]):
            here = torch.nonzero(known[:, kind]).flatten()
            if len(here):
                self._fit_type(kind, here, mean[here, kind], basal[here, kind], count[here, kind], noise)
        seen = known.any(dim=0)
        if not bool(seen[-1]):
            effect.intercept[-1], effect.slope[-1] = effect.intercept[seen].mean(), effect.slope[seen].mean()
        effect.is_known.fill_(1.0)

    def _fit_type(
        self, kind: int, here: Tensor, mean: Tensor, basal: Tensor, count: Tensor, noise: float
    ) -> None:
        centred = basal - basal.mean()
        slope = (centred * mean).sum() / (centred.square().sum() + _RIDGE * len(here))
        intercept = mean.mean() - slope * basal.mean()
        left = mean - intercept - slope * basal
        between = float((left.square() - noise / count).mean().clamp(min=0))
        share = between / (between + noise / count) if between > 0 else torch.zeros_like(count)
        self.effect.intercept[kind], self.effect.slope[kind] = float(intercept), float(slope)
        self.effect.deviation[here, kind] = (share * left).float()

    def facts(self) -> dict[str, float]:
        """Return for how many perturbations the own gene was measured."""
        return {"own_genes_measured": float((self.effect.deviation != 0).any(dim=1).sum())}
