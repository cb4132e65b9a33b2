"""Prediction from the training conditions as they stay: the covariance's answers at a fraction of its cost.

Genes are compared once for scores and spread, and conditions never expand what is said of genes. The numbers
are those of `covariance`, up to rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pertcast.models.multiplex_network.response.covariance import Shape, Slots, own_variance
from pertcast.models.multiplex_network.response.likeness import Likeness
from pertcast.models.multiplex_network.response.summed_weights import SummedWeights


class KnownTraining:
    """What predictions need of the training conditions.

    Parameters
    ----------
    known
        The C training conditions, on the CPU but for their table.
    weights
        (C, K).
    rows
        (M,) int64 the training conditions that tell how sure a prediction is.
    shape
        The covariance.
    """

    def __init__(self, known: Slots, weights: Tensor, rows: Tensor, shape: Shape) -> None:
        self.shape = shape
        self.likeness = Likeness(known.table, known.blocks, shape)
        self.weights = SummedWeights(known, weights)
        self.sure = known.to(weights).take(rows)
        # One context: what is asked for is in it or not, whatever the condition of training.
        self.one_context = bool(len(known)) and bool((known.context == known.context[0]).all())

    @torch.no_grad()
    def answer(self, asked: Slots) -> tuple[Tensor, Tensor, Tensor]:
        """Return the (N, K) scores, the (M, N) covariances with M conditions and (N,) variances of N."""
        scores = asked.table.new_zeros(len(asked), self.weights.of_gene.shape[1])
        near = asked.table.new_zeros(len(self.sure), len(asked))
        own = near.new_zeros(len(asked))
        for s in range(asked.row.shape[1]):
            alike, own = self.likeness(asked.table.index_select(0, asked.row[:, s]))
            self.weights.add_scores(scores, asked, s, alike, self.shape)
            self._add_near(near, asked, s, alike)
        return scores, near.mul_(self._related(asked)), self._variance(asked, own)

    def _add_near(self, near: Tensor, asked: Slots, s: int, alike: Tensor) -> None:
        """Add the (M, N) covariances with slot s of N conditions, context apart; `alike` is (P, N)."""
        kind = torch.eye(len(self.shape.coupling), device=alike.device).index_select(0, asked.kind[:, s])
        kind = (kind * asked.is_filled[:, s].unsqueeze(1)).T
        perturbation = torch.where(asked.perturbation[:, s] < 0, -2, asked.perturbation[:, s])
        for r in range(self.sure.row.shape[1]):
            is_filled = self.sure.is_filled[:, r].unsqueeze(1)
            coupling, memory = (
                (each[self.sure.kind[:, r]] * is_filled) @ kind
                for each in (self.shape.coupling, self.shape.memory)
            )
            near.addcmul_(alike.index_select(0, self.sure.row[:, r]), coupling)
            is_same = self.sure.perturbation[:, r].unsqueeze(1) == perturbation
            near.add_(torch.where(is_same, memory, 0.0))

    def _related(self, asked: Slots) -> Tensor:
        """Return how contexts are related: (1, N) where training has one, else (M, N)."""
        known = self.sure.context[:1] if self.one_context else self.sure.context
        same = (known.unsqueeze(1) == asked.context) & (asked.context >= 0)
        return torch.where(same, 1.0, self.shape.context_correlation)

    def _variance(self, asked: Slots, own: Tensor) -> Tensor:
        """Return the (N,) variance of each condition with itself.

        `own` is how alike the gene of the only slot is to itself.
        """
        if asked.row.shape[1] != 1:
            return own_variance(asked, self.shape)
        kind = asked.kind[:, 0]
        coupling, memory = self.shape.coupling.diagonal()[kind], self.shape.memory.diagonal()[kind]
        return (own * coupling + memory) * asked.is_filled[:, 0]
