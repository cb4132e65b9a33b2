"""Attention between genes without parameters: each gene is described by its values in the T tokens."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def column_attention(tokens: Tensor) -> Tensor:
    r"""Return (N, T, G): genes averaged over the genes that the T tokens show alike.

    .. math:: Y = X \, \mathrm{softmax}_{columns}(X^\top X / \sqrt{T})

    The (G, G) weights are never held for more than a tile where torch has a fused kernel.

    Parameters
    ----------
    tokens
        X, (N, T, G).
    """
    # The fused kernel wants the last axis dense; else the weights are formed whole, at twice the time.
    genes = tokens.transpose(1, 2).unsqueeze(1).contiguous()
    read = functional.scaled_dot_product_attention(genes, genes, genes)
    return read.squeeze(1).transpose(1, 2)
