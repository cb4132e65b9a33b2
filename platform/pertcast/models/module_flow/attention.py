"""Attention among module tokens by way of a few learnt inducing points (Lee et al. 2019, Set Transformer).

Cost grows with the number of modules, not its square; absent modules are neither read nor counted.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pertcast.models.layers.blocks import KeyedDropout
from pertcast.models.layers.recomputable import Recomputable
from pertcast.models.noise import KeyedNoise


class ChannelDropout(KeyedDropout):
    """Drops whole channels of a sample, the same in all of its tokens; see `KeyedDropout`."""

    def forward(self, hidden: Tensor, noise: KeyedNoise | None, keys: Tensor | None) -> Tensor:
        """Return (N, T, W) with channels dropped where there is noise and the module is training."""
        if not self.training or self.share == 0 or noise is None or keys is None:
            return hidden
        kept = noise.uniform(keys, hidden.shape[2], self.stream) >= self.share
        return hidden * (kept.to(hidden.dtype) / (1 - self.share)).unsqueeze(1)


class Attention(nn.Module):
    """Scaled dot-product attention of several heads.

    Parameters
    ----------
    width, heads
        Width of the tokens, a multiple of the number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, asking: Tensor, asked: Tensor, is_present: Tensor | None = None) -> Tensor:
        """Return (N, Q, W) what tokens `asking` (N, Q, W) read from tokens `asked` (N, T, W).

        Parameters
        ----------
        asking, asked
            Tokens; where all samples ask alike, `asking` may be (1, Q, W).
        is_present
            (T,) bool, the tokens that may be read; None: all.
        """
        query = self._by_head(self.query(asking)).expand(len(asked), -1, -1, -1)
        key, value = (self._by_head(part) for part in self.key_value(asked).chunk(2, dim=-1))
        mask = None if is_present is None else is_present.view(1, 1, 1, -1)
        read = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        found: Tensor = self.out(read.transpose(1, 2).flatten(2))
        return found

    def _by_head(self, tokens: Tensor) -> Tensor:
        rows, count, width = tokens.shape
        return tokens.reshape(rows, count, self.heads, width // self.heads).transpose(1, 2)


class InducedAttention(Recomputable):
    r"""One block: M inducing points read the tokens, exchange, and are read by the tokens.

    .. math:: I_1 = LN(I + A(I, x)),\; I_2 = LN(I_1 + A(I_1, I_1)),\; y = LN(x + A(x, I_2)),\; LN(y + F(y))

    with F a feed-forward network (GELU). Dropout acts on what is added.

    Parameters
    ----------
    width, heads, inducing, feed_forward
        Width of the tokens, heads of each attention, M, and the inner width of F.
    dropout
        Share of a sample's channels dropped in training.
    stream
        First of the four streams of noise that the block draws from.
    """

    def __init__(
        self, width: int, heads: int, inducing: int, feed_forward: int, dropout: float, stream: int
    ) -> None:
        super().__init__()
        self.inducing = nn.Parameter(torch.empty(inducing, width))
        nn.init.xavier_uniform_(self.inducing)
        self.collect = Attention(width, heads)
        self.exchange = Attention(width, heads)
        self.spread = Attention(width, heads)
        self.feed = nn.Sequential(nn.Linear(width, feed_forward), nn.GELU(), nn.Linear(feed_forward, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.drops = nn.ModuleList(ChannelDropout(dropout, stream + number) for number in range(4))

    def forward(
        self,
        tokens: Tensor,
        is_present: Tensor | None = None,
        noise: KeyedNoise | None = None,
        keys: Tensor | None = None,
    ) -> Tensor:
        """Return (N, K, W).

        Parameters
        ----------
        tokens
            (N, K, W).
        is_present
            (K,) bool, the tokens that the inducing points may read; None: all.
        noise, keys
            Source of the dropout masks and the samples' keys; training only.
        """

        def added(number: int, before: Tensor, change: Tensor) -> Tensor:
            total: Tensor = self.norms[number](before + self.drops[number](change, noise, keys))
            return total

        inducing = self.inducing.unsqueeze(0)
        inducing = added(0, inducing, self.collect(inducing, tokens, is_present))
        inducing = added(1, inducing, self.exchange(inducing, inducing))
        tokens = added(2, tokens, self.spread(tokens, inducing))
        return added(3, tokens, self.feed(tokens))
