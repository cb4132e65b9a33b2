"""Perturbation features as the covariance sees them: columns that tell genes apart, weightiest first."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from pertcast.models.batch import ConditionBatch

_LEADING: Final = (16, 32, 64, 128, 256)


class SharedFeatures(nn.Module):
    """Chooses and scales columns by the training perturbations.

    A column that only one training perturbation has (its own mark) says nothing of another gene and is left
    out. Columns are sorted by their variance, largest first, and scaled together to a mean square length of
    1.

    Attributes
    ----------
    columns
        (F',) int64.
    scale
        () float32.
    leading
        Numbers of leading columns that are compared by themselves: 16, 32, ... and all.
    """

    columns: Tensor
    scale: Tensor

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        shared = torch.nonzero((features != 0).sum(dim=0) > 1).flatten()
        values = features[:, shared].double()
        order = torch.argsort(values.var(dim=0, correction=0), descending=True, stable=True)
        length = values.square().sum(dim=1).mean() if values.numel() else values.new_zeros(())
        width = len(shared)
        fewer = tuple(count for count in _LEADING if count < width)
        self.leading = (*fewer, width) if width else ()
        self.register_buffer("columns", shared[order], persistent=False)
        self.register_buffer("scale", length.clamp(min=1e-12).rsqrt().float(), persistent=False)

    def forward(self, conditions: ConditionBatch) -> Tensor:
        """Return the (P, F') float32 table of a batch's features."""
        return conditions.features[:, self.columns] * self.scale
