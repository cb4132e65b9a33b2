"""What a perturbation does before anything is known of its gene: the mean of its type, in its context."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pertcast.models.baselines.statistics import ConditionStatistics
from pertcast.models.batch import ConditionBatch, ModelSpace
from pertcast.models.layers.scaling import SD_FLOOR, shrunken_offsets

_FEW = 10
"""Types of fewer conditions lean on the mean of all types, which then weighs as one condition more."""


class ResponseCentre(nn.Module):
    """Mean of the type plus the context's offset; zero for a control.

    Attributes
    ----------
    kind_mean
        (2 T + 1, G): single perturbations of each type, combined ones of each, and all for an unseen type.
        A combination has the type that comes last in `ModelSpace.pert_types`.
    context_offset
        (X + 1, G), shrunken; the last row is zero, for an unseen context.
    sd
        (G,) of the conditions' means around this centre.
    """

    kind_mean: Tensor
    context_offset: Tensor
    sd: Tensor

    def __init__(self, space: ModelSpace) -> None:
        super().__init__()
        self.n_types = len(space.pert_types)
        self.register_buffer("kind_mean", torch.zeros(2 * self.n_types + 1, space.n_genes))
        self.register_buffer("context_offset", torch.zeros(len(space.contexts) + 1, space.n_genes))
        self.register_buffer("sd", torch.ones(space.n_genes))

    def forward(self, conditions: ConditionBatch) -> Tensor:
        """Return (N, G) float32."""
        n_filled = (conditions.slot >= 0).sum(dim=1)
        context = torch.where(conditions.context < 0, len(self.context_offset) - 1, conditions.context)
        centre = self.kind_mean.index_select(0, self._kind(conditions))
        centre += self.context_offset.index_select(0, context)
        centre *= (n_filled > 0).unsqueeze(1)
        return centre

    def _kind(self, conditions: ConditionBatch) -> Tensor:
        """Return (N,) int64 rows of `kind_mean`."""
        last = conditions.pert_type.amax(dim=1)
        combined = ((conditions.slot >= 0).sum(dim=1) > 1).long()
        return torch.where(last < 0, 2 * self.n_types, last + self.n_types * combined)

    def solve(self, statistics: ConditionStatistics, conditions: ConditionBatch) -> Tensor:
        """Fill the buffers; return the (C, G) float64 deviations in units of the sd, zero where unmeasured.

        The mean of a type of few conditions is that of them and of one more, the mean of all. A type of many
        has its own mean exactly: any other centre would move all of its genes alike, which says nothing of
        one gene. Where left-out conditions are told better by the mean of all types than by that of their
        own, types do not differ and have one mean.
        """
        means, measured = statistics.condition_means(), statistics.measured()
        device = means.device
        kind = self._kind(conditions).to(device)
        overall = statistics.train_mean()
        by_kind = self._means(means[measured], kind[measured], overall)
        left = (means - by_kind[kind]) * measured.unsqueeze(1)
        offsets = self._offsets(left, measured, conditions.context.to(device))
        row = torch.where(conditions.context < 0, len(offsets) - 1, conditions.context).to(device)
        left = (left - offsets[row]) * measured.unsqueeze(1)
        sd = (left.square().sum(dim=0) / measured.sum().clamp(min=1)).sqrt()
        varying = sd[sd > 1e-6]
        sd = sd.clamp(min=SD_FLOOR * float(varying.median())) if varying.numel() else torch.ones_like(sd)
        self.kind_mean.copy_(by_kind)
        self.context_offset.copy_(offsets)
        self.sd.copy_(sd)
        return left / sd

    def _means(self, means: Tensor, kind: Tensor, overall: Tensor) -> Tensor:
        """Return the (K, G) means of kinds from the (M, G) means of measured conditions."""
        sums = means.new_zeros(self.kind_mean.shape).index_add_(0, kind, means)
        count = torch.bincount(kind, minlength=len(sums)).to(means).unsqueeze(1)
        prior = (count < _FEW).to(count)
        by_kind = (sums + prior * overall) / (count + prior)
        scale = (means - overall).square().mean(dim=0).clamp(min=1e-12)
        number = count[kind]
        own = (means - sums[kind] / number) * number / (number - 1).clamp(min=1)
        alike = (means - overall) * len(means) / max(len(means) - 1, 1)
        gain = ((alike.square() - own.square()) / scale)[number[:, 0] > 1].sum()
        return by_kind if float(gain) > 0 else overall.expand_as(by_kind)

    def _offsets(self, left: Tensor, measured: Tensor, context: Tensor) -> Tensor:
        """Return the (X + 1, G) offsets of contexts."""
        offsets = left.new_zeros(self.context_offset.shape)
        known = measured & (context >= 0)
        sums = offsets[:-1].clone().index_add_(0, context[known], left[known])
        rows = torch.bincount(context[known], minlength=len(sums)).to(left)
        offsets[:-1], _ = shrunken_offsets(sums, rows, left[known].square().sum(dim=0))
        return offsets
