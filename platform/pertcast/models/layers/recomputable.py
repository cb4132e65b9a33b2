"""Blocks whose activations can be computed again in the backward pass, for activation checkpointing."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Recomputable(nn.Module):
    """Base of the networks' repeated blocks.

    While `is_recomputed`, a block keeps its inputs only; what is between them and its output is computed a
    second time when the gradient is asked for. The result is the same bit for bit: noise is keyed, and
    torch's random state is put back for the second time.

    Attributes
    ----------
    is_recomputed
        Whether to do so; an engine switches it on in the copy that it trains.
    """

    is_recomputed = False

    def __call__(self, *inputs: Any) -> Any:
        """Call the module, hooks included."""
        if self.is_recomputed and torch.is_grad_enabled():
            return checkpoint(super().__call__, *inputs, use_reentrant=False)
        return super().__call__(*inputs)


def recompute_blocks(module: nn.Module) -> int:
    """Let every block below a module be recomputed; returns how many there are."""
    blocks = [part for part in module.modules() if isinstance(part, Recomputable)]
    for block in blocks:
        block.is_recomputed = True
    return len(blocks)
