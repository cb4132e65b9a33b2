"""What a type of perturbation does to the transcript of the gene that it aims at: no other gene tells."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pertcast.models.batch import ConditionBatch, ModelSpace
from pertcast.models.multiplex_network.response.centre import ResponseCentre

_PRIOR_GENES = 1.0
"""Genes without an effect that are added to those measured."""


class OwnGeneShift(nn.Module):
    """Deviation of the targeted gene from the centre, in units of that gene's sd, one number a type.

    Attributes
    ----------
    shift
        (T + 1,), the last one, for an unseen type, zero.
    n_measured
        (T + 1,) training conditions that it was measured on.
    """

    shift: Tensor
    n_measured: Tensor

    def __init__(self, space: ModelSpace) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(len(space.pert_types) + 1))
        self.register_buffer("n_measured", torch.zeros(len(space.pert_types) + 1))

    def solve(self, deviations: Tensor, measured: Tensor, conditions: ConditionBatch) -> None:
        """Average the (C, G) deviations at the own genes of single perturbations."""
        single = (conditions.slot >= 0).sum(dim=1) == 1
        used = (conditions.own_gene >= 0) & (measured.cpu() & single).unsqueeze(1)
        row, place = torch.nonzero(used, as_tuple=True)
        values = deviations[row, conditions.own_gene[row, place]].cpu()
        kind = conditions.pert_type[row, place]
        known = kind >= 0
        count = torch.bincount(kind[known], minlength=len(self.shift)).double()
        total = torch.zeros_like(count).index_add_(0, kind[known], values[known].double())
        self.shift.copy_(total / (count + _PRIOR_GENES))
        self.n_measured.copy_(count)

    def hide(self, deviations: Tensor, conditions: ConditionBatch) -> Tensor:
        """Return (N, G) deviations that are zero at the own genes."""
        return self._put(deviations.clone(), conditions, torch.zeros_like(conditions.log_dose))

    def told(self, centre: ResponseCentre, centres: Tensor, conditions: ConditionBatch) -> Tensor:
        """Return the (N, S) responses of the own genes from the (N, G) centres of conditions."""
        index = conditions.own_gene.clamp(min=0)
        return centres.gather(1, index) + self.shift[conditions.pert_type] * centre.sd[index]

    def put(self, responses: Tensor, conditions: ConditionBatch, told: Tensor) -> Tensor:
        """Put what is told of the own genes (N, S) into their places in (N, G) responses; return these."""
        return self._put(responses, conditions, told)

    def _put(self, deviations: Tensor, conditions: ConditionBatch, values: Tensor) -> Tensor:
        stated = conditions.own_gene >= 0
        index = conditions.own_gene.clamp(min=0).to(deviations.device)
        stated, values = stated.to(deviations.device), values.to(deviations)
        # An empty slot points at gene 0 and must leave it as it is: only differences are added.
        change = torch.where(stated, values - deviations.gather(1, index), 0.0)
        return deviations.scatter_add_(1, index, change)
