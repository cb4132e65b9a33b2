"""What the other types tell of a perturbation: measured where training measured it, else predicted.

A condition never sees its own type's measurement: that token is always the prediction.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pertcast.models.batch import ConditionBatch, ModelSpace
from pertcast.models.multiplex_network.reference.condition_types import condition_type


class MeasuredProfiles(nn.Module):
    """Mean training profile of each (perturbation, type, context), in the units of its type's scaling.

    Combinations are not kept. Doses and times of one perturbation, type and context are averaged.

    Attributes
    ----------
    profile
        (M, G) of the M measured triples.
    is_known
        (M,) 1 once filled, else 0.
    row_of
        (P + 1, T, K + 1) int64 row in `profile`, -1 where training has none; last ones for what is unseen.
    triple_of
        (C,) int64 row in `profile` of each training condition, -1 for combinations and controls.
    """

    profile: Tensor
    is_known: Tensor
    row_of: Tensor
    triple_of: Tensor

    def __init__(self, space: ModelSpace, conditions: ConditionBatch) -> None:
        super().__init__()
        shape = (len(space.perturbations) + 1, len(space.pert_types), len(space.contexts) + 1)
        perturbation, is_single = single_perturbation(conditions)
        kind = condition_type(conditions, shape[1])
        kept = is_single & (perturbation >= 0) & (kind < shape[1]) & (conditions.context >= 0)
        place = (perturbation * shape[1] + kind) * shape[2] + conditions.context
        distinct, triple = torch.unique(place[kept], return_inverse=True)
        row_of = torch.full(shape, -1).flatten()
        row_of[distinct] = torch.arange(len(distinct))
        triple_of = torch.full((len(conditions),), -1)
        triple_of[kept] = triple
        rows = max(1, len(distinct))
        self.register_buffer("row_of", row_of.view(shape), persistent=False)
        self.register_buffer("triple_of", triple_of, persistent=False)
        self.register_buffer("profile", torch.zeros(rows, space.n_genes))
        self.register_buffer("is_known", torch.zeros(rows))

    def fill(self, scaled: Tensor, is_measured: Tensor) -> None:
        """Keep the means of training conditions.

        Parameters
        ----------
        scaled
            (C, G) mean profile of each condition, in the units of its type's scaling.
        is_measured
            (C,) bool, whether a condition has rows.
        """
        used = is_measured & (self.triple_of >= 0)
        index = self.triple_of[used]
        number = torch.bincount(index, minlength=len(self.is_known)).to(self.profile)
        total = torch.zeros_like(self.profile).index_add_(0, index, scaled[used].to(self.profile))
        self.profile.copy_(total / number.clamp(min=1).unsqueeze(1))
        self.is_known.copy_((number > 0).to(self.is_known))

    def forward(self, conditions: ConditionBatch, kind: Tensor) -> tuple[Tensor, Tensor]:
        """Look up what other types measured.

        Parameters
        ----------
        conditions
            N conditions.
        kind
            (N,) type of each condition.

        Returns
        -------
        tuple
            (N, T, G) float32 profiles, and (N, T) bool whether each was measured in training; never true for
            a condition's own type, nor for combinations.
        """
        perturbation, is_single = single_perturbation(conditions)
        row = self.row_of.transpose(1, 2)[perturbation, conditions.context]
        is_other = torch.arange(row.shape[1], device=kind.device) != kind.unsqueeze(1)
        row = torch.where(is_other & is_single.unsqueeze(1), row, -1)
        is_measured = (row >= 0) & (self.is_known[row.clamp(min=0)] > 0)
        return self.profile[row.clamp(min=0)], is_measured


def single_perturbation(conditions: ConditionBatch) -> tuple[Tensor, Tensor]:
    """Return (N,) int64 the perturbation of each single condition, else -1; (N,) bool which are single."""
    filled = conditions.slot >= 0
    is_single = filled.sum(dim=1) == 1
    perturbation = torch.where(filled, conditions.perturbation, -1).amax(dim=1)
    return torch.where(is_single, perturbation, -1), is_single
