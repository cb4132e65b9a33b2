"""Closed-form linear algebra for the baselines: leading components and ridge with groups left out.

Everything is float64 and deterministic; nothing is larger than the smaller side of the design.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

PENALTIES: Final = (*(10.0 ** (half / 2) for half in range(-8, 9)), math.inf)
"""Ridge penalties tried, as multiples of the design's mean squared singular value; the last fits nothing."""

_EXACT_SIDE: Final = 4096


def leading_components(rows: Tensor, count: int) -> Tensor:
    """Return the (count, G) orthonormal leading right singular vectors of `rows` (C, G), float64.

    Exact through the smaller Gram matrix; above 4,096 on both sides by seeded subspace iteration
    (Halko, Martinsson & Tropp 2011). Directions beyond the rank are zero.
    """
    rows = rows.double()
    n_rows, n_columns = rows.shape
    if n_columns <= min(n_rows, _EXACT_SIDE) or n_columns <= _EXACT_SIDE < n_rows:
        values, vectors = torch.linalg.eigh(rows.T @ rows)
        components = vectors.flip(1).T
        lengths = values.flip(0).clamp(min=0).sqrt()
    elif n_rows <= _EXACT_SIDE:
        values, vectors = torch.linalg.eigh(rows @ rows.T)
        lengths = values.flip(0).clamp(min=0).sqrt()
        components = (vectors.flip(1) / lengths.clamp(min=1e-300)).T @ rows
    else:
        components, lengths = _subspace_iteration(rows, count + 10)
    kept = lengths > 1e-7 * lengths.max().clamp(min=1e-300)
    padded = rows.new_zeros(count, n_columns)
    found = (components * kept.unsqueeze(1))[:count]
    padded[: found.shape[0]] = found
    return padded


def _subspace_iteration(rows: Tensor, width: int, rounds: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(rows.shape[1], width, generator=generator, dtype=torch.float64).to(rows.device)
    basis = torch.linalg.qr(start).Q
    for _ in range(rounds):
        basis = torch.linalg.qr(rows.T @ (rows @ basis)).Q
    values, vectors = torch.linalg.eigh((projected := rows @ basis).T @ projected)
    return (basis @ vectors.flip(1)).T, values.flip(0).clamp(min=0).sqrt()


@dataclass(frozen=True)
class RidgeFit:
    """A ridge regression and how well it predicts what was left out.

    prediction = intercept + (design - offset) @ coefficients

    Attributes
    ----------
    coefficients
        (F, T) float64.
    offset, intercept
        (F,) and (T,) means of design and response.
    penalty
        Chosen multiple of the design's mean squared singular value.
    left_out
        (C, T) float64 prediction of each row from a fit without the rows of its group.
    """

    coefficients: Tensor
    offset: Tensor
    intercept: Tensor
    penalty: float
    left_out: Tensor


def fit_ridge(design: Tensor, response: Tensor, groups: Tensor) -> RidgeFit:
    """Fit a ridge with an unpenalised intercept; the penalty minimises the left-out squared error.

    A whole group is left out at once, exactly: e_g = (I - H_gg)^-1 r_g, with H the hat matrix, the
    intercept's share included (else the centring tells what was left out). With groups of one row this is
    leave-one-out (PRESS). Equal errors choose the larger penalty.

    Parameters
    ----------
    design
        (C, F); scale it before.
    response
        (C, T).
    groups
        (C,) int64: rows that belong together, such as the doses of one compound.
    """
    offset, intercept = design.double().mean(dim=0), response.double().mean(dim=0)
    design, response = design.double() - offset, response.double() - intercept
    left, values, right = _thin_svd(design)
    projected = left.T @ response
    scale = float(values.square().mean()) if values.numel() else 1.0
    members = _members_by_size(groups)
    best: RidgeFit | None = None
    best_error = math.inf
    for penalty in sorted(PENALTIES, reverse=True):
        shrink = values.square() / (values.square() + penalty * scale)
        errors = _left_out_errors(left, shrink, response - left @ (shrink.unsqueeze(1) * projected), members)
        error = float(errors.square().sum())
        if error < best_error * (1 - 1e-9):
            slopes = right @ ((shrink / values).unsqueeze(1) * projected)
            left_out = response - errors + intercept
            best, best_error = RidgeFit(slopes, offset, intercept, penalty, left_out), error
    if best is None:
        raise ValueError("the training responses or features hold values that are not finite")
    return best


def _thin_svd(design: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    rows, columns = design.shape
    if rows == 0 or columns == 0:
        return design.new_zeros(rows, 0), design.new_zeros(0), design.new_zeros(columns, 0)
    by_columns = columns <= rows
    squares, vectors = torch.linalg.eigh(design.T @ design if by_columns else design @ design.T)
    kept = squares > 1e-10 * squares.max()
    values, vectors = squares[kept].sqrt(), vectors[:, kept]
    if by_columns:
        return design @ vectors / values, values, vectors
    return vectors, values, design.T @ vectors / values


def _members_by_size(groups: Tensor) -> list[Tensor]:
    """Return, for each group size m, the (number of groups, m) row numbers of the groups of that size."""
    _, inverse, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    order = torch.argsort(inverse, stable=True)
    starts = torch.cumsum(counts, 0) - counts
    members = []
    for size in torch.unique(counts).tolist():
        first = starts[counts == size]
        members.append(order[first.unsqueeze(1) + torch.arange(size, device=groups.device)])
    return members


def _left_out_errors(left: Tensor, shrink: Tensor, residual: Tensor, members: list[Tensor]) -> Tensor:
    errors = residual.clone()
    for rows in members:
        block = left[rows]
        hat = (block * shrink) @ block.transpose(1, 2) + 1 / len(residual)
        inner = torch.eye(rows.shape[1], dtype=hat.dtype, device=hat.device) - hat
        errors[rows] = (
            torch.linalg.solve(inner, residual[rows]) if len(rows) * rows.shape[1] else residual[rows]
        )
    return errors
