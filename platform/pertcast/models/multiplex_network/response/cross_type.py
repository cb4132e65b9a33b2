"""Attention over the types of one gene: what RNAi measured may refine what is predicted for CRISPR.

One token a type that training measured, one for the prediction itself; the same layers are applied again to
the refined prediction. Where no other type was measured nothing is refined.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from pertcast.models.batch import ConditionBatch, ModelSpace
from pertcast.models.layers.recomputable import Recomputable
from pertcast.models.multiplex_network.config import CrossTypeConfig


@dataclass(frozen=True, slots=True)
class OtherTypes:
    """What training measured of the same genes under other types.

    Attributes
    ----------
    condition
        (N, T) int64, the training condition of each type, -1 for none.
    kind
        (N,) int64, the type that is asked for; T where it is unseen or several are combined.
    """

    condition: Tensor
    kind: Tensor

    @property
    def is_measured(self) -> Tensor:
        """(N, T) bool."""
        return self.condition >= 0


class TypeIndex(nn.Module):
    """Finds the training conditions of a gene in a context, by type.

    Attributes
    ----------
    condition
        (P + 1, X + 1, T) int64 training condition of a single perturbation, -1 for none; the last row and
        column, for what is unseen, hold none.
    """

    condition: Tensor

    def __init__(self, space: ModelSpace, conditions: ConditionBatch) -> None:
        super().__init__()
        self.n_types = len(space.pert_types)
        shape = (len(space.perturbations) + 1, len(space.contexts) + 1, self.n_types)
        table = torch.full(shape, -1)
        is_single = (conditions.slot >= 0).sum(dim=1) == 1
        perturbation, kind = conditions.perturbation.amax(dim=1), conditions.pert_type.amax(dim=1)
        known = is_single & (perturbation >= 0) & (kind >= 0) & (conditions.context >= 0)
        # Of several doses or times, the first condition is taken: later ones are written before it.
        rows = torch.nonzero(known).flatten().flip(0)
        for row in rows.tolist():
            table[perturbation[row], conditions.context[row], kind[row]] = row
        self.register_buffer("condition", table, persistent=False)

    def forward(self, conditions: ConditionBatch) -> OtherTypes:
        """Return what training measured of N conditions under types other than their own."""
        is_single = (conditions.slot >= 0).sum(dim=1) == 1
        kind = conditions.pert_type.amax(dim=1)
        kind = torch.where(is_single & (kind >= 0), kind, self.n_types)
        perturbation = conditions.perturbation.amax(dim=1)
        perturbation = torch.where(perturbation < 0, self.condition.shape[0] - 1, perturbation)
        context = torch.where(conditions.context < 0, self.condition.shape[1] - 1, conditions.context)
        types = torch.arange(self.n_types, device=kind.device)
        is_other = (types != kind.unsqueeze(1)) & (kind < self.n_types).unsqueeze(1)
        return OtherTypes(torch.where(is_other, self.condition[perturbation, context], -1), kind)


class _Block(Recomputable):
    """Pre-norm attention and feed-forward; tokens see the tokens that are there."""

    def __init__(self, config: CrossTypeConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.attention_norm, self.hidden_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project_in, self.project_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.hidden = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(config.dropout), nn.Linear(2 * width, width)
        )

    def forward(self, tokens: Tensor, is_there: Tensor, asked: slice) -> Tensor:
        """Return (N, S', W), the tokens (N, S, W) that are asked for; `is_there` (N, S) bool."""
        rows, count, width = tokens.shape
        normed = self.attention_norm(tokens)
        weight, bias = self.project_in.weight, self.project_in.bias
        # A few tokens: products of whole rows, summed by head, are faster than a product for every head.
        query = functional.linear(normed[:, asked], weight[:width], bias[:width])
        both = functional.linear(normed, weight[width:], bias[width:])
        key, value = both.view(rows, 1, count, 2, self.heads, -1).unbind(3)
        query = query.view(rows, -1, 1, *key.shape[3:])
        logits = (query * key).sum(dim=-1) / math.sqrt(key.shape[-1])
        logits = logits.masked_fill(~is_there[:, None, :, None], -math.inf)
        seen = (torch.softmax(logits, dim=2).unsqueeze(-1) * value).sum(dim=2)
        tokens = tokens[:, asked] + self.project_out(seen.flatten(2))
        hidden: Tensor = tokens + self.hidden(self.hidden_norm(tokens))
        return hidden


class CrossTypeAttention(nn.Module):
    """Refines predicted scores by measured ones of other types; nothing is refined before training.

    Parameters
    ----------
    config
        Sizes; `width` is a multiple of `heads`.
    n_types
        T.
    n_components
        K, scores of a token.
    """

    def __init__(self, config: CrossTypeConfig, n_types: int, n_components: int) -> None:
        super().__init__()
        self.rounds = config.rounds
        self.value = nn.Linear(n_components, config.width)
        self.type_of_measured = nn.Embedding(n_types, config.width)
        self.type_asked = nn.Embedding(n_types + 1, config.width)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.refinement = nn.Linear(config.width, n_components)
        nn.init.zeros_(self.refinement.weight)
        nn.init.zeros_(self.refinement.bias)

    def forward(self, predicted: Tensor, measured: Tensor, others: OtherTypes) -> Tensor:
        """Return the (N, K) change of the predicted scores.

        Parameters
        ----------
        predicted
            (N, K) scores, standardised.
        measured
            (N, T, K) scores of the other types, standardised; anything where there is none.
        others
            Which of them there are.
        """
        is_there = torch.cat([others.is_measured, torch.ones_like(others.kind[:, None]).bool()], dim=1)
        fixed = self.value(measured) + self.type_of_measured.weight
        own_type = self.type_asked(others.kind)
        change = torch.zeros_like(predicted)
        for _ in range(self.rounds):
            own = self.value(predicted + change) + own_type
            tokens = torch.cat([fixed, own.unsqueeze(1)], dim=1)
            for number, block in enumerate(self.blocks, 1):
                # Nothing reads the other tokens of the last block.
                tokens = block(tokens, is_there, slice(-1 if number == len(self.blocks) else 0, None))
            change = change + self.refinement(self.norm(tokens[:, -1]))
        return change * others.is_measured.any(dim=1, keepdim=True)
