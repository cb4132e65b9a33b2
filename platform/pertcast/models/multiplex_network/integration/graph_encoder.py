"""Graph attention over one network: weighted edges, self loops, skip connections.

The weighted sums over neighbours run without the (edges x width) array of messages that a message passing
layer keeps for its gradient: memory and time follow genes x width plus edges x heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional
from torch_geometric.utils import softmax

from pertcast.models.multiplex_network.integration.neighbour_sampling import Block, Neighbourhoods

SLOPE = 0.2
EDGES_AT_ONCE = 4096
"""Edges whose two ends are held at a time in the gradient of the attention: they then stay in cache."""


class WeightedAttention(nn.Module):
    """One graph attention layer with edge weights.

    y_i = ELU(S x_i + b + concatenated over heads sum_j a_ij V x_j), a_ij the softmax over the edges of i of
    LeakyReLU(t . V x_i + s . V x_j) + g log w_ij: attention after Velickovic et al. 2018, to which the
    weight of an edge is a prior with a learned exponent g, 1 at the start. With equal scores the layer is the
    weighted mean over neighbours.

    Parameters
    ----------
    width
        Of the input.
    heads, head_width
        Heads and the width of each; the output is as wide as all together.
    """

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(width, heads * head_width, bias=False)
        self.skip = nn.Linear(width, heads * head_width)
        self.source_score = nn.Parameter(torch.randn(heads, head_width) / head_width**0.5)
        self.target_score = nn.Parameter(torch.randn(heads, head_width) / head_width**0.5)
        self.weight_exponent = nn.Parameter(torch.ones(heads))

    def forward(self, inputs: Tensor, block: Block) -> Tensor:
        """Return (T, heads x head width) for the targets of `block`; inputs (M, width) of its sources."""
        return self.attend(self.project(inputs), inputs[: block.n_targets], block)

    def attend(self, projected: Tensor, own: Tensor, block: Block) -> Tensor:
        """Return the output from (M, heads x head width) projected sources and (T, width) own inputs."""
        by_head = projected.view(len(projected), self.heads, -1)
        target = block.target()
        from_source = (by_head * self.source_score).sum(2)
        from_target = (by_head[: block.n_targets] * self.target_score).sum(2)
        score = functional.leaky_relu(from_source[block.source] + from_target[target], SLOPE)
        score = score + self.weight_exponent * block.weight.log()[:, None]
        attention = softmax(score, target, num_nodes=block.n_targets)
        gathered: Tensor = _WeightedSum.apply(  # type: ignore[no-untyped-call]
            projected, attention, block.source, block.offset
        )
        return functional.elu(gathered + self.skip(own))


class GraphEncoder(nn.Module):
    """Attention layers over one network.

    Parameters
    ----------
    width
        Of the input features.
    heads, head_width, layers
        Of the attention.
    """

    def __init__(self, width: int, heads: int, head_width: int, layers: int) -> None:
        super().__init__()
        widths = [width, *[heads * head_width] * (layers - 1)]
        self.layers = nn.ModuleList(WeightedAttention(wide, heads, head_width) for wide in widths)

    def forward(self, inputs: Tensor, blocks: list[Block]) -> Tensor:
        """Return (T, heads x head width); inputs (M, width) of the sources of the first block."""
        hidden = inputs
        for layer, block in zip(self.layers, blocks, strict=True):
            hidden = layer(hidden, block)
        return hidden

    @torch.no_grad()
    def encode(self, inputs: Tensor, network: Neighbourhoods, genes_at_once: int) -> Tensor:
        """Return (N, heads x head width) of all genes, each from all of its neighbours.

        Layer by layer in blocks of genes: the result is that of the whole graph at once up to rounding.
        inputs (N, width).
        """
        hidden = inputs
        every = torch.arange(network.n_genes, device=inputs.device)
        for layer in self.layers:
            assert isinstance(layer, WeightedAttention)
            projected = layer.project(hidden)
            rows = []
            for genes in torch.split(every, genes_at_once):
                block = network.all_of(genes)
                rows.append(layer.attend(projected[block.sources], hidden[genes], block))
            hidden = torch.cat(rows)
        return hidden


class _WeightedSum(torch.autograd.Function):
    """Sum over each target's edges of attention x source row, head by head; no (E, width) array is made."""

    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor, attention: Tensor, source: Tensor, offset: Tensor) -> Tensor:
        ctx.save_for_backward(rows, attention, source, offset)
        return _sum_by_head(rows, attention, source, offset[:-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        rows, attention, source, offset = ctx.saved_tensors  # type: ignore[attr-defined]
        gradient = gradients[0].contiguous()
        target = torch.repeat_interleave(offset.diff())
        order = source.argsort(stable=True)
        count = source.bincount(minlength=len(rows))
        of_rows = _sum_by_head(gradient, attention[order], target[order], count.cumsum(0) - count)
        of_attention = torch.empty_like(attention)
        for start in range(0, len(source), EDGES_AT_ONCE):
            part = slice(start, start + EDGES_AT_ONCE)
            product = gradient[target[part]] * rows[source[part]]
            of_attention[part] = product.view(len(product), attention.shape[1], -1).sum(2)
        return of_rows, of_attention, None, None


def _sum_by_head(rows: Tensor, weight: Tensor, index: Tensor, start: Tensor) -> Tensor:
    """Return (T, width) the sums over bags of edges of weight (E, heads) x the rows that they name."""
    by_head = rows.view(len(rows), weight.shape[1], -1)
    sums = [
        functional.embedding_bag(
            index,
            by_head[:, head].contiguous(),
            start,
            mode="sum",
            per_sample_weights=weight[:, head].contiguous(),
        )
        for head in range(weight.shape[1])
    ]
    return torch.cat(sums, 1)
