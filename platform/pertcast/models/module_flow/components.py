"""Components that keep what sets conditions apart, beside what sets single cells apart.

Most of the variance of single cells is noise, which plain principal components spend their dimensions on.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pertcast.models.batch import Batch
from pertcast.models.layers.latents.autoencoder import Autoencoder
from pertcast.models.layers.latents.fitting import ComponentsStage, StandardisedTargets


class ConditionComponentsStage(ComponentsStage):
    r"""Finds the leading directions of cells and of condition means together.

    The subspace is spanned by the leading eigenvectors of

    .. math:: \frac1N \sum_i x_i x_i^T + \frac{w}{N} \sum_c n_c \bar x_c \bar x_c^T

    and its axes are the principal axes of the cells within it, so that latents are uncorrelated.

    Parameters
    ----------
    autoencoder
        Takes the components up.
    targets
        What it compresses.
    n_conditions
        C, the number of training conditions; their sums are held as (C, G) float64.
    condition_weight
        w: 0 gives principal components of cells, a large number those of the condition means first.
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        targets: StandardisedTargets,
        n_conditions: int,
        condition_weight: float,
    ) -> None:
        super().__init__(autoencoder, targets)
        self.n_conditions = n_conditions
        self.condition_weight = condition_weight

    def start(self) -> dict[str, Tensor]:
        """Return zeroed sums, float64."""
        genes = self.autoencoder.n_genes
        return super().start() | {
            "condition_sum": torch.zeros(self.n_conditions, genes, dtype=torch.float64),
            "condition_rows": torch.zeros(self.n_conditions, dtype=torch.float64),
        }

    def update(self, sums: dict[str, Tensor], batch: Batch) -> None:
        """Add one batch."""
        super().update(sums, batch)
        condition = batch.condition_index.to(sums["rows"].device)
        known = condition >= 0
        target = self.targets(batch).to(sums["condition_sum"])
        sums["condition_sum"].index_add_(0, condition[known], target[known])
        sums["condition_rows"].index_add_(0, condition[known], torch.ones_like(target[known, 0]))

    def finish(self, sums: Mapping[str, Tensor]) -> None:
        """Solve for the subspace, turn its axes, and hand them to the autoencoder."""
        rows = sums["rows"].clamp(min=1)
        cells = sums["products"] / rows
        means = sums["condition_sum"] / sums["condition_rows"].clamp(min=1).unsqueeze(1)
        right = means if self.is_exact else means @ self.directions(means)
        between = sums["condition_sum"].T @ right / rows
        _, spanning = self.leading(cells + self.condition_weight * between)
        variances, turned = torch.linalg.eigh(self._within(cells, spanning))
        components = (turned.T @ spanning).flip(0)
        self.hand_over(variances.flip(0).clamp(min=0), components, sums["squares"] / rows)

    def _within(self, cells: Tensor, spanning: Tensor) -> Tensor:
        """Return (D, D) the cells' second moment along the spanning directions (D, G)."""
        if self.is_exact:
            return spanning @ cells @ spanning.T
        variances, vectors = self.eigen(cells)
        along = spanning @ vectors
        return (along * variances) @ along.T
