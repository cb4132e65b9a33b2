"""Perturbation features as the covariance sees them: source by source, columns that tell genes apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor, nn

from pertcast.models.batch import ConditionBatch, ModelSpace
from pertcast.models.multiplex_network.response.covariance import Blocks

_VIEWS: Final = (16, 32, 64, 128, 256)


class SharedFeatures(nn.Module):
    """Chooses, sorts and scales columns by the training perturbations.

    A column that only one training perturbation has (its own mark) says nothing of another gene and is left
    out. The columns of a source are sorted by their variance, largest first, and scaled together to a mean
    square length of 1.

    Attributes
    ----------
    columns
        (F',) int64.
    scale
        (F',) float32.
    blocks
        Where each source starts and where its views end: after 16, 32, ... columns and after all.
    """

    columns: Tensor
    scale: Tensor

    def __init__(self, space: ModelSpace, features: Tensor) -> None:
        super().__init__()
        columns, scales = [], []
        blocks: list[tuple[int, ...]] = []
        start = 0
        for source in _sources(space, features.shape[1]):
            chosen, scale = _sorted(features, source)
            width = len(chosen)
            if width:
                ends = (*(view for view in _VIEWS if view < width), width)
                blocks.append((start, *(start + end for end in ends)))
                columns.append(chosen)
                scales.append(scale.expand(width))
                start += width
        self.blocks: Blocks = tuple(blocks)
        none = torch.zeros(0, dtype=torch.int64)
        self.register_buffer("columns", torch.cat([none, *columns]), persistent=False)
        self.register_buffer("scale", torch.cat([none.float(), *scales]), persistent=False)

    def forward(self, conditions: ConditionBatch) -> Tensor:
        """Return the (P, F') float32 table of a batch's features."""
        return conditions.features.index_select(1, self.columns) * self.scale


def _sources(space: ModelSpace, width: int) -> Iterator[Tensor]:
    """Yield the columns of every source; all columns at once where the space names none."""
    bounds = [(each.start, each.stop) for each in space.feature_blocks] or [(0, width)]
    for start, stop in bounds:
        yield torch.arange(start, stop)


def _sorted(features: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
    """Return the shared columns of a source, the most variable first, and () their scale."""
    shared = source[(features[:, source] != 0).sum(dim=0) > 1]
    if not len(shared):
        return shared, torch.ones(())
    values = features[:, shared].double()
    order = torch.argsort(values.var(dim=0, correction=0), descending=True, stable=True)
    length = values.square().sum(dim=1).mean()
    return shared[order], length.clamp(min=1e-12).rsqrt().float()
