r"""How alike asked genes are to those of training: `SlotTables.alike`, by tables that are computed once.

Of a view of the features,

.. math:: w \, e^{(\cos - 1) / l^2} = 2^{a \, (x \cdot x') \, a' + b'}

with a and a' of one gene each: every pass over the genes of training is in place.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from pertcast.models.multiplex_network.response.covariance import TINY, Blocks, Shape

_UNLIKE: Final = -1e3
_ROWS: Final = 256
"""Genes of training at a time: what is computed of them and a batch then stays in the cache."""
_LOG2_E: Final = math.log2(math.e)


class Likeness:
    """Compares genes with the P genes of training.

    Parameters
    ----------
    table
        (P, F) features of the genes of training.
    blocks
        Its blocks of columns and their views.
    shape
        The covariance, of the dtype of the table.
    """

    def __init__(self, table: Tensor, blocks: Blocks, shape: Shape) -> None:
        self.table, self.blocks = table, blocks
        self.of_block, self.of_view = shape.shares[: len(blocks)], shape.shares[len(blocks) :]
        per_length = _LOG2_E / shape.lengths.square()
        sizes = [size for _, size in self._squares(table)]
        self.factors: list[Tensor] = []
        self.offsets: list[Tensor] = []
        for number, size in enumerate(sizes):
            inverse, is_empty = _inverse(size)
            offset = self.of_view[number].log2() - per_length[number]
            self.factors.append((inverse * per_length[number]).unsqueeze(1))
            self.offsets.append(torch.where(is_empty, _UNLIKE, offset).unsqueeze(1))

    def _squares(self, table: Tensor) -> list[tuple[tuple[int, int], Tensor]]:
        """Return, for every view, the columns that it adds and (N,) the squared length of a gene in it."""
        found = []
        for begin, *ends in self.blocks:
            start, total = begin, table.new_zeros(len(table))
            for end in ends:
                total = total + table[:, start:end].square().sum(dim=1)
                found.append(((start, end), total))
                start = end
        return found

    @torch.no_grad()
    def __call__(self, table: Tensor) -> tuple[Tensor, Tensor]:
        """Compare N genes.

        Parameters
        ----------
        table
            (N, F) their features.

        Returns
        -------
        Tensor
            (P, N) how alike they are to those of training.
        Tensor
            (N,) how alike each is to itself.
        """
        total = table.new_zeros(len(self.table), len(table))
        product, radial = table.new_empty(2, min(_ROWS, len(total)), len(table))
        squares = [size for _, size in self._squares(table)]
        views = [
            (inverse, torch.where(is_empty, _UNLIKE, 0.0)) for inverse, is_empty in map(_inverse, squares)
        ]
        for start in range(0, len(total), _ROWS):
            part = slice(start, min(start + _ROWS, len(total)))
            size = part.stop - start
            self._compare(part, table, views, (total[part], product[:size], radial[:size]))
        own = table.new_zeros(len(table))
        for number, (_, unlike) in enumerate(views):
            own.add_(torch.where(unlike < 0, 0.0, self.of_view[number]))
        last = -1
        for block, (_, *ends) in enumerate(self.blocks):
            last += len(ends)
            own.addcmul_(squares[last], self.of_block[block])
        return total, own

    def _compare(
        self, part: slice, table: Tensor, views: list[tuple[Tensor, Tensor]], space: tuple[Tensor, ...]
    ) -> None:
        """Add how alike N genes are to some of training.

        Parameters
        ----------
        part
            Rows of training.
        table
            (N, F) features.
        views
            Of every view one over the length of each gene (N,), and what is added where it has none.
        space
            Sums, and room for products and for what is added: three of (rows, N).
        """
        total, product, radial = space
        number = 0
        for block, (begin, *ends) in enumerate(self.blocks):
            start = begin
            for end in ends:
                inverse, unlike = views[number]
                known = self.table[part, start:end]
                product.addmm_(known, table[:, start:end].T, beta=float(start > begin))
                torch.addcmul(unlike, product, inverse, out=radial)
                torch.addcmul(self.offsets[number][part], radial, self.factors[number][part], out=radial)
                total.add_(torch.exp2(radial, out=radial))
                start, number = end, number + 1
            total.addcmul_(product, self.of_block[block])


def _inverse(square: Tensor) -> tuple[Tensor, Tensor]:
    """Return one over a length (N,), and where it is nothing; then the inverse is 0."""
    length = square.sqrt()
    is_empty = length <= TINY
    return torch.where(is_empty, 0.0, 1 / length.clamp(min=TINY)), is_empty
