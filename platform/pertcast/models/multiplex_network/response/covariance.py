r"""How alike the effects of two conditions are: by their genes' features, their types and their contexts.

Between slot x of one condition and slot x' of another:

.. math:: k = a(context) \, \Big(B_{tt'} \, \big(\sum_b w_b \, x_b \cdot x'_b
          + \sum_m w_m \, e^{(\cos(x_m, x'_m) - 1) / l_m^2}\big) + D_{tt'} \, [gene = gene']\Big)

with x_b the features of a source (components, networks, a table) and x_m views of them: their leading 16,
32, ... columns and all, so that fine distinctions count only where they help. B is how types are coupled
where genes are alike, and D where they are the same gene: the linear model of coregionalisation (Alvarez,
Rosasco & Lawrence 2012, section 4.2).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from pertcast.models.batch import ConditionBatch

Blocks = tuple[tuple[int, ...], ...]
"""Of every block of columns: its start, then the ends of its views, ascending."""

TINY = 1e-9
_UNLIKE = -1e3


@dataclass(frozen=True, slots=True)
class Shape:
    """What a covariance is made of.

    Attributes
    ----------
    shares
        (N_b + M,), w: those of whole blocks, then those of views; they sum to 1.
    lengths
        (M,), l.
    coupling, memory
        (T + 1, T + 1), B and D; the last row and column for an unseen type.
    context_correlation
        (), a of two different contexts; 1 within one.
    """

    shares: Tensor
    lengths: Tensor
    coupling: Tensor
    memory: Tensor
    context_correlation: Tensor

    def to(self, like: Tensor) -> Shape:
        """Return the same shape with the dtype and device of a tensor."""
        return Shape(**{each.name: getattr(self, each.name).to(like) for each in fields(self)})


@dataclass(frozen=True, slots=True)
class Slots:
    """The perturbations of N conditions, S slots each, and the table of features that they point into.

    Attributes
    ----------
    row
        (N, S) int64, row of `table`.
    is_filled
        (N, S) bool.
    kind
        (N, S) int64, type of perturbation, the last one for an unseen type.
    perturbation
        (N, S) int64, -1 for an unseen one.
    context
        (N,) int64, -1 for an unseen one.
    table
        (P, F) features.
    blocks
        Of every block of columns its start, and where each of its views ends, the whole block last.
    """

    row: Tensor
    is_filled: Tensor
    kind: Tensor
    perturbation: Tensor
    context: Tensor
    table: Tensor
    blocks: Blocks

    def __len__(self) -> int:
        return int(self.row.shape[0])

    @classmethod
    def of(cls, conditions: ConditionBatch, table: Tensor, blocks: Blocks, n_types: int) -> Slots:
        """List the slots of conditions over a (P, F) table of their features."""
        return cls(
            row=conditions.slot.clamp(min=0),
            is_filled=conditions.slot >= 0,
            kind=torch.where(conditions.pert_type < 0, n_types, conditions.pert_type),
            perturbation=conditions.perturbation,
            context=conditions.context,
            table=table,
            blocks=blocks,
        )

    def last_kind(self) -> Tensor:
        """Return (N,) the last type of each condition's perturbations; the first one for a control."""
        return torch.where(self.is_filled, self.kind, 0).amax(dim=1)

    def take(self, rows: Tensor | slice) -> Slots:
        """Return some of the conditions; the table is shared."""
        part = {name: getattr(self, name)[rows] for name in _BY_CONDITION}
        return Slots(**part, table=self.table, blocks=self.blocks)

    def to(self, like: Tensor) -> Slots:
        """Return the same slots on a tensor's device, with features of its dtype."""
        part = {name: getattr(self, name).to(like.device) for name in _BY_CONDITION}
        return Slots(**part, table=self.table.to(like), blocks=self.blocks)


_BY_CONDITION = ("row", "is_filled", "kind", "perturbation", "context")


@dataclass(frozen=True, slots=True)
class SlotTables:
    """What the covariance of N and M conditions needs, whatever its shape: products of feature tables.

    Attributes
    ----------
    products
        Of every block, (P, P').
    cosines
        Of every view, (P, P'); far below -1 where a row is all zero: nothing is like it.
    nothing
        (P, P') zeros.
    """

    products: tuple[Tensor, ...]
    cosines: tuple[Tensor, ...]
    nothing: Tensor

    @classmethod
    def of(cls, first: Slots, second: Slots) -> SlotTables:
        """Multiply every row of one table with every row of another."""
        products, cosines = [], []
        nothing = first.table.new_zeros(()).expand(len(first.table), len(second.table))
        for begin, *ends in first.blocks:
            product, start = nothing, begin
            for end in ends:
                product = product + first.table[:, start:end] @ second.table[:, start:end].T
                lengths = (_lengths(each.table, begin, end) for each in (first, second))
                cosines.append(_cosine(product, next(lengths).unsqueeze(1) * next(lengths)))
                start = end
            products.append(product)
        return cls(tuple(products), tuple(cosines), nothing)

    @classmethod
    def of_rows(cls, table: Tensor, blocks: Blocks, first: Tensor, second: Tensor) -> SlotTables:
        """Multiply rows (N,) of a table one by one with others; every tensor is (N,)."""
        each = table[first] * table[second]
        products, cosines = [], []
        for begin, *ends in blocks:
            for end in ends:
                lengths = _lengths(table, begin, end)
                product = each[:, begin:end].sum(dim=1)
                cosines.append(_cosine(product, lengths[first] * lengths[second]))
            products.append(each[:, begin : ends[-1]].sum(dim=1))
        return cls(tuple(products), tuple(cosines), table.new_zeros(()).expand(len(first)))

    def alike(self, shape: Shape) -> Tensor:
        """Return how alike genes are, of the shape of `nothing`."""
        total, n_blocks = self.nothing, len(self.products)
        for number, product in enumerate(self.products):
            total = total + shape.shares[number] * product
        for number, cosine in enumerate(self.cosines):
            radial = torch.exp((cosine - 1) / shape.lengths[number].square())
            total = total + shape.shares[n_blocks + number] * radial
        return total


def _lengths(table: Tensor, begin: int, end: int) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(table[:, begin:end], dim=1)
    return lengths


def _cosine(product: Tensor, lengths: Tensor) -> Tensor:
    return torch.where(lengths > TINY, product / lengths.clamp(min=TINY), _UNLIKE)


def covariance(first: Slots, second: Slots, shape: Shape, tables: SlotTables | None = None) -> Tensor:
    """Return the (N, M) covariance of conditions, summed over their slots; 0 for a control.

    Parameters
    ----------
    first, second
        N and M conditions.
    shape
        Of the dtype of the tables.
    tables
        Of the two; computed where None.
    """
    alike = (tables or SlotTables.of(first, second)).alike(shape)
    total: Tensor | None = None
    for s in range(first.row.shape[1]):
        rows = alike[first.row[:, s]]
        for r in range(second.row.shape[1]):
            part = _between_slots(first, second, shape, rows, s, r)
            total = part if total is None else total + part
    if total is None:
        return alike.new_zeros(len(first), len(second))
    same = (first.context.unsqueeze(1) == second.context) & (first.context >= 0).unsqueeze(1)
    whole: Tensor = total * torch.where(same, 1.0, shape.context_correlation)
    return whole


def _between_slots(first: Slots, second: Slots, shape: Shape, alike: Tensor, s: int, r: int) -> Tensor:
    """Return the (N, M) covariance of slot s of one side and slot r of the other; `alike` is (N, P')."""
    kinds = first.kind[:, s], second.kind[:, r]
    of_gene = shape.memory[kinds[0]][:, kinds[1]]
    perturbation = first.perturbation[:, s].unsqueeze(1)
    is_same = (perturbation == second.perturbation[:, r]) & (perturbation >= 0)
    found = alike[:, second.row[:, r]] * shape.coupling[kinds[0]][:, kinds[1]]
    found = found + torch.where(is_same, of_gene, 0.0)
    return found * first.is_filled[:, s].unsqueeze(1) * second.is_filled[:, r]


def own_variance(slots: Slots, shape: Shape) -> Tensor:
    """Return the (N,) variance of each condition with itself: the diagonal of `covariance`."""
    total = slots.table.new_zeros(len(slots))
    for s in range(slots.row.shape[1]):
        for r in range(slots.row.shape[1]):
            first, second = slots.row[:, s], slots.row[:, r]
            alike = SlotTables.of_rows(slots.table, slots.blocks, first, second).alike(shape)
            kinds = slots.kind[:, s], slots.kind[:, r]
            same = (slots.perturbation[:, s] == slots.perturbation[:, r]) & (slots.perturbation[:, s] >= 0)
            same |= first == second
            part = alike * shape.coupling[kinds] + torch.where(same, shape.memory[kinds], 0.0)
            total = total + part * (slots.is_filled[:, s] & slots.is_filled[:, r])
    return total
