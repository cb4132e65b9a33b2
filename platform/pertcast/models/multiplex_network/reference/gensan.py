"""GenSAN: refines the response to a perturbation by one type with what the other types show of it."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from pertcast.models.layers.recomputable import Recomputable
from pertcast.models.multiplex_network.reference.column_attention import column_attention
from pertcast.models.multiplex_network.reference.config import GenSanConfig


class RowAttention(nn.Module):
    """Attention between the T tokens, several heads, with keys and values of G / heads (rounded up) each."""

    def __init__(self, genes: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        width = heads * -(-genes // heads)
        self.query_key_value = nn.Linear(genes, 3 * width)
        self.out = nn.Linear(width, genes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (N, T, G)."""
        rows, count, _ = tokens.shape
        parts = self.query_key_value(tokens).view(rows, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        read = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2])
        found: Tensor = self.out(read.transpose(1, 2).flatten(2))
        return found


class GenSanBlock(Recomputable):
    """Row attention, column attention and a feed-forward network, each on normalised tokens and added."""

    def __init__(self, genes: int, config: GenSanConfig) -> None:
        super().__init__()
        self.row_norm = nn.LayerNorm(genes)
        self.row = RowAttention(genes, config.heads)
        self.column_norm = nn.LayerNorm(genes)
        self.feed_norm = nn.LayerNorm(genes)
        self.feed = nn.Sequential(
            nn.Linear(genes, config.feed_forward), nn.ReLU(), nn.Linear(config.feed_forward, genes)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (N, T, G)."""
        tokens = tokens + self.row(self.row_norm(tokens))
        tokens = tokens + column_attention(self.column_norm(tokens))
        refined: Tensor = tokens + self.feed(self.feed_norm(tokens))
        return refined


class GenSan(nn.Module):
    """`copies` x `blocks` blocks, none sharing weights (the paper's "recycling"), and what they change.

    One network serves all types: a token knows its type and whether it is the one asked for, measured or
    predicted. The output layer starts at zero, so that refining begins at the prediction of the first stage.

    Parameters
    ----------
    genes, types
        G and T.
    config
        Sizes.
    """

    OWN, MEASURED, PREDICTED = 0, 1, 2

    def __init__(self, genes: int, types: int, config: GenSanConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(GenSanBlock(genes, config) for _ in range(config.copies * config.blocks))
        self.kind = nn.Parameter(torch.zeros(types, genes))
        self.role = nn.Parameter(torch.zeros(3, genes))
        self.norm = nn.LayerNorm(genes)
        self.change = nn.Linear(genes, genes)
        nn.init.zeros_(self.change.weight)
        nn.init.zeros_(self.change.bias)

    def forward(self, tokens: Tensor, is_measured: Tensor, kind: Tensor) -> Tensor:
        """Return (N, G): what is to be added to the token of each row's own type.

        Parameters
        ----------
        tokens
            (N, T, G) responses by type.
        is_measured
            (N, T) bool, which of them are measured.
        kind
            (N,) int64 the type asked for; T for none of them, which is left as it is.
        """
        types = self.kind.shape[0]
        number = torch.arange(types, device=kind.device)
        role = torch.where(is_measured, self.MEASURED, self.PREDICTED)
        role = torch.where(number == kind.unsqueeze(1), self.OWN, role)
        stream = tokens + self.kind + self.role[role]
        for block in self.blocks:
            stream = cast(GenSanBlock, block)(stream)
        row = torch.arange(len(kind), device=kind.device)
        read = stream[row, kind.clamp(max=types - 1)]
        change: Tensor = self.change(self.norm(read)).float()
        return change * (kind < types).unsqueeze(1)
