"""Entropic optimal transport of genes to modules, and its rounding to whole genes.

Genes weigh 1/G each and modules capacity/G (Cuturi 2013). The columns' marginal may be relaxed by a
Kullback-Leibler penalty (Chizat et al. 2018), so that a module may become larger or smaller than planned.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_ROUNDS = 400
_INNER_ROUNDS = 20
_LARGEST_LOG_SCALE = 50.0
_BLOCK = 1 << 18


def transport_plan(
    cost: Tensor,
    capacities: Tensor,
    epsilon: float,
    relaxation: float = math.inf,
    tolerance: float = 1e-6,
) -> Tensor:
    """Return (G, K) float64 logarithm of the entropic plan.

    Minimises <plan, cost> + epsilon * KL(plan) + relaxation * KL(column sums | capacities / G), with row sums
    1/G. Potentials are kept in the log domain; between two exact updates of them the kernel is scaled by
    matrix-vector products, as long as no scale leaves exp(+-50) (Schmitzer 2019).

    Parameters
    ----------
    cost
        (G, K).
    capacities
        (K,) positive; they sum to G.
    epsilon
        Regularisation in units of the cost.
    relaxation
        Price of leaving the capacities, in units of the cost; infinite: they are kept.
    tolerance
        Rounds end where no column's log mass changes by more than this.
    """
    cost = cost.double()
    n_genes = len(cost)
    columns = (capacities.double() / n_genes).log()
    row = -math.log(n_genes)
    share = 1.0 if math.isinf(relaxation) else relaxation / (relaxation + epsilon)
    scaled = -cost / epsilon
    right = torch.zeros_like(columns)
    done = False
    for _ in range(_ROUNDS // _INNER_ROUNDS):
        left = row - torch.logsumexp(scaled + right, dim=1)
        right = share * (columns - torch.logsumexp(scaled + left.unsqueeze(1), dim=0))
        if done:
            break
        kernel = (scaled + left.unsqueeze(1) + right).exp()
        right, done = _scale(kernel, right, columns, row, share, tolerance)
    left = row - torch.logsumexp(scaled + right, dim=1)
    return scaled + left.unsqueeze(1) + right


def _scale(
    kernel: Tensor, right: Tensor, columns: Tensor, row: float, share: float, tolerance: float
) -> tuple[Tensor, bool]:
    """Scale the kernel to both marginals; return the columns' log potential and whether it has settled."""
    change = torch.zeros_like(right)
    settled = False
    for _ in range(_INNER_ROUNDS):
        left = math.exp(row) / (kernel @ change.exp())
        wanted = share * (columns - (kernel.T @ left).log() + right) - right
        step = float((wanted - change).abs().max())
        change = wanted
        settled = step < tolerance
        if settled or float(change.abs().max()) > _LARGEST_LOG_SCALE:
            break
    return right + change, settled


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
