"""Entropic optimal transport of genes to modules, and its rounding to whole genes.

Genes weigh 1/G each. Modules have a given capacity (Cuturi 2013), or one that is learned with the plan.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

_ROUNDS: Final = 400
_INNER_ROUNDS: Final = 20
_LARGEST_LOG_SCALE: Final = 50.0
_SHARE_ROUNDS: Final = 5
_LEAST_SHARE: Final = 1e-6
_BLOCK: Final = 1 << 18


def transport_plan(cost: Tensor, capacities: Tensor, epsilon: float, tolerance: float = 1e-6) -> Tensor:
    """Return (G, K) float64 logarithm of the balanced entropic plan.

    Minimises <plan, cost> + epsilon * KL(plan | 1) with row sums 1/G and column sums capacities / G.
    Potentials are kept in the log domain; between two exact updates of them the kernel is scaled by
    matrix-vector products, as long as no scale leaves exp(+-50) (Schmitzer 2019). Row sums are exact,
    column sums within the tolerance unless 400 rounds do not suffice.

    Parameters
    ----------
    cost
        (G, K).
    capacities
        (K,) positive; they sum to G.
    epsilon
        Regularisation in units of the cost.
    tolerance
        Rounds end where no column's log scale changes by more than this.
    """
    scaled = -cost.double() / epsilon
    row = -math.log(len(cost))
    columns = (capacities.double() / len(cost)).log()
    right = torch.zeros_like(columns)
    settled = False
    for _ in range(_ROUNDS // _INNER_ROUNDS):
        left = row - torch.logsumexp(scaled + right, dim=1)
        right = columns - torch.logsumexp(scaled + left.unsqueeze(1), dim=0)
        if settled:
            break
        change, settled = _scaling((scaled + left.unsqueeze(1) + right).exp(), columns, row, tolerance)
        right = right + change
    left = row - torch.logsumexp(scaled + right, dim=1)
    return scaled + left.unsqueeze(1) + right


def _scaling(kernel: Tensor, columns: Tensor, row: float, tolerance: float) -> tuple[Tensor, bool]:
    """Return (K,) by what log factor the columns have to be scaled, and whether it has settled."""
    change = torch.zeros_like(columns)
    settled = False
    for _ in range(_INNER_ROUNDS):
        left = math.exp(row) / (kernel @ change.exp())
        wanted = columns - (kernel.T @ left).log()
        settled = float((wanted - change).abs().max()) < tolerance
        change = wanted
        if settled or float(change.abs().max()) > _LARGEST_LOG_SCALE:
            break
    return change, settled


def mixture_plan(cost: Tensor, sizes: Tensor, epsilon: float) -> Tensor:
    """Return (G, K) float64 logarithm of an entropic plan whose column sums follow the data.

    Five rounds towards the minimum of <plan, cost> + epsilon * KL(plan | 1/G x share) over the plan and the
    modules' shares, row sums 1/G: each gene is divided in proportion to share_k exp(-cost_ik / epsilon),
    and a module's share becomes the mass it was given (the proportions of a mixture, Dempster, Laird &
    Rubin 1977). Shares start at the present sizes, shrunk towards balance by one gene a module.

    Parameters
    ----------
    cost
        (G, K).
    sizes
        (K,) present sizes of the modules.
    epsilon
        Regularisation in units of the cost.
    """
    scaled = -cost.double() / epsilon
    share = (sizes.double() + 1) / (sizes.double() + 1).sum()
    plan = scaled
    for _ in range(_SHARE_ROUNDS):
        plan = torch.log_softmax(scaled + share.log(), dim=1)
        share = plan.exp().mean(dim=0).clamp(min=_LEAST_SHARE)
    return plan - math.log(len(cost))


def round_plan(log_plan: Tensor, capacities: Tensor) -> Tensor:
    """Return (G,) int64 labels: places are given away by decreasing plan mass, while a module has room.

    Parameters
    ----------
    log_plan
        (G, K) logarithm of the plan.
    capacities
        (K,) int64; they sum to G and are kept exactly.
    """
    n_genes, n_modules = log_plan.shape
    order = torch.argsort(log_plan.flatten(), descending=True, stable=True)
    labels = torch.full((n_genes,), -1, dtype=torch.int64)
    room = capacities.clone()
    for start in range(0, len(order), _BLOCK):
        entries = order[start : start + _BLOCK]
        genes, modules = entries // n_modules, entries % n_modules
        useful = (labels[genes] < 0) & (room[modules] > 0)
        _fill(labels, room, genes[useful], modules[useful])
        if not bool(room.any()):
            break
    return labels


def _fill(labels: Tensor, room: Tensor, genes: Tensor, modules: Tensor) -> None:
    """Place genes in the given order, in place."""
    placed: dict[int, int] = {}
    left = room.tolist()
    for gene, module in zip(genes.tolist(), modules.tolist(), strict=True):
        if left[module] > 0 and gene not in placed:
            placed[gene] = module
            left[module] -= 1
    if placed:
        labels[torch.tensor(list(placed))] = torch.tensor(list(placed.values()))
    room.copy_(torch.tensor(left))
