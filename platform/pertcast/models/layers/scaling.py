"""Where a trained model starts from: means and sd of basal and target, solved in closed form.

Targets are standardised around mean + context offset + group offset; the offsets are shrunk by
empirical Bayes, so a plate counts only as far as plates differ more than their noise.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pertcast.models.batch import Batch, ConditionBatch, ModelSpace
from pertcast.models.contract import StatisticsStage

SD_FLOOR = 1e-3
"""Smallest sd as a share of the median gene's; genes that never vary are not blown up."""


class Scaling(nn.Module):
    """Per-gene means and sd as buffers, float32.

    Attributes
    ----------
    target_mean, target_sd
        (G,) of the training targets; the sd is that left after the offsets.
    context_offset, group_offset
        (K + 1, G) and (P + 1, G) deviations; the last row is zero, for an unseen one.
    basal_mean, basal_sd
        (G,) of the basal profiles of the training rows.
    """

    target_mean: Tensor
    target_sd: Tensor
    context_offset: Tensor
    group_offset: Tensor
    basal_mean: Tensor
    basal_sd: Tensor

    def __init__(self, space: ModelSpace) -> None:
        super().__init__()
        genes = space.n_genes
        self.register_buffer("target_mean", torch.zeros(genes))
        self.register_buffer("target_sd", torch.ones(genes))
        self.register_buffer("context_offset", torch.zeros(len(space.contexts) + 1, genes))
        self.register_buffer("group_offset", torch.zeros(len(space.groups) + 1, genes))
        self.register_buffer("basal_mean", torch.zeros(genes))
        self.register_buffer("basal_sd", torch.ones(genes))

    def centre(self, conditions: ConditionBatch) -> Tensor:
        """Return the (N, G) response expected before anything is known of the perturbation."""
        context = _last_if_unseen(conditions.context, self.context_offset)
        group = _last_if_unseen(conditions.group, self.group_offset)
        return self.target_mean + self.context_offset[context] + self.group_offset[group]

    def standardise(self, target: Tensor, conditions: ConditionBatch) -> Tensor:
        """Return targets (N, G) as deviations from the centre in units of the sd."""
        return (target - self.centre(conditions)) / self.target_sd

    def standardise_basal(self, basal: Tensor) -> Tensor:
        """Return basal profiles (N, G) with mean 0 and sd 1 over the training rows."""
        return (basal - self.basal_mean) / self.basal_sd


def _last_if_unseen(index: Tensor, table: Tensor) -> Tensor:
    return torch.where(index < 0, table.shape[0] - 1, index)


class ScalingStage(StatisticsStage):
    """Solves `Scaling` from sums over the training rows.

    Parameters
    ----------
    scaling
        Filled by `finish`.
    use_context_mean, use_group_mean
        Whether there are offsets at all.
    use_mean
        Whether the centre holds the mean target; without, no response is zero and stays so.
    """

    name = "scaling"

    def __init__(
        self, scaling: Scaling, use_context_mean: bool, use_group_mean: bool, use_mean: bool = True
    ) -> None:
        self.scaling = scaling
        self.use_mean = use_mean
        self.use_context_mean = use_context_mean
        self.use_group_mean = use_group_mean

    def start(self) -> dict[str, Tensor]:
        """Return zeroed sums, float64."""
        contexts, genes = self.scaling.context_offset.shape
        groups = self.scaling.group_offset.shape[0]
        shapes = {
            "context_sum": (contexts, genes),
            "group_sum": (groups, genes),
            "rows": (groups, contexts),
            "square_sum": (genes,),
            "basal_sum": (genes,),
            "basal_square_sum": (genes,),
        }
        return {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}

    def update(self, sums: dict[str, Tensor], batch: Batch) -> None:
        """Add one batch."""
        device = sums["rows"].device
        target = batch.target.to(device, torch.float64)
        basal = batch.basal.to(device, torch.float64)
        context = _last_if_unseen(batch.conditions.context.to(device), sums["context_sum"])
        group = _last_if_unseen(batch.conditions.group.to(device), sums["group_sum"])
        sums["context_sum"].index_add_(0, context, target)
        sums["group_sum"].index_add_(0, group, target)
        ones = torch.ones(len(batch), dtype=torch.float64, device=device)
        sums["rows"].index_put_((group, context), ones, accumulate=True)
        sums["square_sum"] += target.square().sum(dim=0)
        sums["basal_sum"] += basal.sum(dim=0)
        sums["basal_square_sum"] += basal.square().sum(dim=0)

    def finish(self, sums: Mapping[str, Tensor]) -> None:
        """Solve means, offsets and sd, and store them."""
        rows, n_rows = sums["rows"], sums["rows"].sum().clamp(min=1)
        mean = sums["context_sum"].sum(dim=0) / n_rows * self.use_mean
        squares = sums["square_sum"] - n_rows * mean.square()
        context_rows = rows.sum(dim=0)
        context_sum = sums["context_sum"] - context_rows.unsqueeze(1) * mean
        context = torch.zeros_like(context_sum)
        if self.use_context_mean:
            context[:-1], squares = shrunken_offsets(context_sum[:-1], context_rows[:-1], squares)
        group_sum = sums["group_sum"] - rows @ (mean + context)
        group = torch.zeros_like(group_sum)
        if self.use_group_mean:
            group[:-1], squares = shrunken_offsets(group_sum[:-1], rows.sum(dim=1)[:-1], squares)
        basal_mean = sums["basal_sum"] / n_rows
        basal_variance = sums["basal_square_sum"] / n_rows - basal_mean.square()
        self.scaling.target_mean.copy_(mean)
        self.scaling.context_offset.copy_(context)
        self.scaling.group_offset.copy_(group)
        self.scaling.target_sd.copy_(_floored_sd(squares / n_rows))
        self.scaling.basal_mean.copy_(basal_mean)
        self.scaling.basal_sd.copy_(_floored_sd(basal_variance))

    def refit(self, sums: Mapping[str, Tensor], known_genes: Tensor) -> None:
        """Solve unknown genes; of known ones everything stays.

        The centre as well: the mean of few new conditions says less than what trained weights expect of them.
        """
        before = [buffer.clone() for buffer in self.scaling.buffers()]
        self.finish(sums)
        for solved, kept in zip(self.scaling.buffers(), before, strict=True):
            solved.copy_(torch.where(known_genes.to(solved.device), kept, solved))

    def filled(self) -> tuple[Tensor, ...]:
        """Return all buffers of the scaling."""
        return tuple(self.scaling.buffers())


def _floored_sd(variance: Tensor) -> Tensor:
    sd = variance.clamp(min=0).sqrt()
    varying = sd[sd > 1e-6]
    if varying.numel() == 0:
        return torch.ones_like(sd)
    return sd.clamp(min=SD_FLOOR * float(varying.median()))


def shrunken_offsets(sums: Tensor, rows: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
    """Estimate the offsets of classes (contexts, plates), shrunk by empirical Bayes.

    offset = n / (n + w / b) * class mean, with w and b the variances within and between classes, averaged
    over genes (one-way analysis of variance). Zero where classes differ no more than their noise, or where
    there are fewer than two.

    Parameters
    ----------
    sums
        (K, G) sums of the centred targets by class.
    rows
        (K,) rows of each class.
    squares
        (G,) sum of the squared centred targets.

    Returns
    -------
    offsets
        (K, G).
    squares
        (G,) sum of squares left after the offsets are taken off.
    """
    number = rows.unsqueeze(1)
    n_rows, n_classes = float(rows.sum()), int((rows > 0).sum())
    if n_classes < 2 or n_rows <= n_classes:
        return torch.zeros_like(sums), squares
    means = sums / number.clamp(min=1)
    between_sum = (number * means.square()).sum(dim=0)
    variance = (squares / n_rows).clamp(min=1e-12)
    within = float(((squares - between_sum) / variance).mean()) / (n_rows - n_classes)
    between = float((between_sum / variance).mean()) / (n_classes - 1)
    typical = (n_rows - float(rows.square().sum()) / n_rows) / (n_classes - 1)
    excess = (between - within) / max(typical, 1e-12)
    if excess <= 0:
        return torch.zeros_like(sums), squares
    offsets = means * (number / (number + max(within, 0.0) / excess))
    left = squares - 2 * (offsets * sums).sum(dim=0) + (number * offsets.square()).sum(dim=0)
    return offsets, left
