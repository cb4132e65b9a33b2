"""Predicted scores from how alike genes are: weights of conditions that share gene, type and context summed.

The covariance with n conditions is never written out: the type and the context of a whole segment of them are
one factor a prediction.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pertcast.models.multiplex_network.response.covariance import Shape, Slots


class SummedWeights:
    """Weights of the training conditions, by segments of one context and type.

    Parameters
    ----------
    known
        The C training conditions, on the CPU.
    weights
        (C, K).

    Attributes
    ----------
    context, kind
        (S,) int64 of every segment.
    parts
        Of every segment the rows of the table of features that its conditions have, (M,) int64, and the
        summed weights (M, K).
    place
        (P + 1, S) int64: where in `of_gene` the weights of a perturbation in a segment are.
    of_gene
        (E + 1, K) summed weights of one perturbation in one segment; the last ones, of none, are zero.
    """

    def __init__(self, known: Slots, weights: Tensor) -> None:
        device = weights.device
        condition, slot = torch.nonzero(known.is_filled, as_tuple=True)
        row, perturbation = known.row[condition, slot], known.perturbation[condition, slot]
        pairs = torch.stack([known.context[condition], known.kind[condition, slot]], dim=1)
        segments, segment = torch.unique(pairs, dim=0, return_inverse=True)
        self.context, self.kind = segments.T.to(device)
        weight = weights[condition.to(device)]
        self.parts: list[tuple[Tensor, Tensor]] = []
        for number in range(len(segments)):
            here = torch.nonzero(segment == number).flatten()
            rows, summed = _summed(row[here], weight[here.to(device)])
            self.parts.append((rows.to(device), summed))
        is_known = torch.nonzero(perturbation >= 0).flatten()
        both = perturbation[is_known] * len(segments) + segment[is_known]
        keys, summed = _summed(both, weight[is_known.to(device)])
        n_perturbations = int(perturbation.max()) + 1 if len(perturbation) else 0
        place = torch.full(((n_perturbations + 1) * len(segments),), len(keys))
        place[keys] = torch.arange(len(keys))
        self.place = place.view(n_perturbations + 1, len(segments)).to(device)
        self.of_gene = torch.cat([summed, summed.new_zeros(1, weights.shape[1])])

    def add_scores(self, total: Tensor, asked: Slots, s: int, alike: Tensor, shape: Shape) -> None:
        """Add to (N, K) the scores of what is in slot s of N conditions; `alike` is (P, N)."""
        kind, context = asked.kind[:, s], asked.context.unsqueeze(1)
        related = torch.where((context == self.context) & (context >= 0), 1.0, shape.context_correlation)
        related = related * asked.is_filled[:, s].unsqueeze(1)
        coupling = shape.coupling[kind][:, self.kind] * related
        for number, (rows, weights) in enumerate(self.parts):
            found = alike.index_select(0, rows).T @ weights
            total.addcmul_(found, coupling[:, number : number + 1])
        memory = shape.memory[kind][:, self.kind] * related
        found = torch.bmm(memory.unsqueeze(1), self._of_same_gene(asked.perturbation[:, s]))
        total.add_(found.squeeze(1))

    def _of_same_gene(self, perturbation: Tensor) -> Tensor:
        """Return the (N, S, K) summed weights of the same perturbations in every segment."""
        last = len(self.place) - 1
        place = self.place.index_select(0, torch.where(perturbation < 0, last, perturbation.clamp(max=last)))
        found = self.of_gene.index_select(0, place.flatten())
        return found.view(*place.shape, self.of_gene.shape[1])


def _summed(key: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct keys (M,) and the summed weights (M, K) of each."""
    keys, inverse = torch.unique(key, return_inverse=True)
    summed = weight.new_zeros(len(keys), weight.shape[1])
    return keys, summed.index_add_(0, inverse.to(weight.device), weight)
