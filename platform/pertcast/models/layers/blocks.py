"""Residual blocks whose dropout is keyed by sample, so that a mask does not depend on the batch."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from pertcast.models.layers.recomputable import Recomputable
from pertcast.models.noise import KeyedNoise


class KeyedDropout(nn.Module):
    """Dropout whose mask depends on (seed, step, sample) alone, not on the batch.

    Parameters
    ----------
    share
        Share of units dropped in training.
    stream
        Separates the draws of different layers.
    """

    def __init__(self, share: float, stream: int) -> None:
        super().__init__()
        self.share = share
        self.stream = stream

    def forward(self, hidden: Tensor, noise: KeyedNoise | None, keys: Tensor | None) -> Tensor:
        """Return (N, W) with units dropped where there is noise and the module is training."""
        if not self.training or self.share == 0 or noise is None or keys is None:
            return hidden
        kept = noise.uniform(keys, hidden.shape[1], self.stream) >= self.share
        masked: Tensor = hidden * (kept.to(hidden.dtype) / (1 - self.share))
        return masked


class ResidualBlock(Recomputable):
    """x + dropout(W2 silu(W1 layer_norm(x)))."""

    def __init__(self, width: int, dropout: float, stream: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, 2 * width)
        self.outer = nn.Linear(2 * width, width)
        self.dropout = KeyedDropout(dropout, stream)

    def forward(self, hidden: Tensor, noise: KeyedNoise | None, keys: Tensor | None) -> Tensor:
        """Return (N, W)."""
        change = self.outer(functional.silu(self.inner(self.norm(hidden))))
        kept: Tensor = self.dropout(change, noise, keys)
        return hidden + kept
