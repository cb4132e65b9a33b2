"""Leading eigenvectors of a large symmetric operator, the same at every call.

Small ones are decomposed exactly; large ones by block Lanczos with full orthogonalisation and thick restarts
(Wu and Simon 2000, SIAM J. Matrix Anal. Appl. 22:602), in float64 and from a fixed start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from pertcast_data.errors import ConfigError
from torch import Tensor

Operator = Callable[[Tensor], Tensor]
"""A symmetric matrix as what it does: (N, B) float64 -> (N, B) float64."""

TOLERANCE: Final = 1e-6
"""Residual norm of an eigenpair, as a share of the operator's largest eigenvalue."""

_DENSE: Final = 1000
"""Operators up to this size are decomposed exactly."""
_BLOCK: Final = 8
_LEAST_WIDTH: Final = 96
_RESTARTS: Final = 200
_EXHAUSTED: Final = 1e-12
_TIED: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Eigenpairs:
    """The largest eigenvalues of a symmetric operator.

    Attributes
    ----------
    values
        (K,) float64, largest first.
    vectors
        (N, K) float64, orthonormal; the first of a vector's largest entries is positive.
    residual
        Largest ||A u - l u|| as a share of the largest |l|; 0 where the operator was decomposed exactly.
    """

    values: Tensor
    vectors: Tensor
    residual: float


def leading_eigenpairs(
    operator: Operator, size: int, count: int, *, device: torch.device, tolerance: float = TOLERANCE
) -> Eigenpairs:
    """Return the `count` largest eigenvalues of an operator with their vectors.

    Parameters
    ----------
    operator
        The (N, N) symmetric matrix.
    size
        N.
    count
        Eigenpairs wanted, at most N.
    device
        Where the operator computes.
    tolerance
        Residual norm, as a share of the largest eigenvalue, at which a pair is good enough.

    Raises
    ------
    ConfigError
        The tolerance is not reached.
    """
    if size <= max(_DENSE, 4 * count, 4 * _BLOCK):
        dense = operator(torch.eye(size, dtype=torch.float64, device=device))
        values, vectors = torch.linalg.eigh((dense + dense.T) / 2)
        order = values.argsort(descending=True, stable=True)[:count]
        return Eigenpairs(values[order], signed(vectors[:, order]), 0.0)
    return _Lanczos(operator, size, count, device).solve(tolerance)


def signed(vectors: Tensor) -> Tensor:
    """Return (N, K) vectors with the sign at which the first of their largest entries is positive."""
    if not vectors.numel():
        return vectors
    sizes = vectors.abs()
    # Symmetric networks have equal largest entries: rounding must not choose among them.
    largest = (sizes >= (1 - _TIED) * sizes.amax(dim=0)).int().argmax(dim=0)
    entries = vectors.gather(0, largest[None])
    return vectors * torch.where(entries < 0, -1.0, 1.0)


class _Lanczos:
    """Rows V of a basis of the Krylov space: A V' = V' H + Q' R E', E the last block's columns."""

    def __init__(self, operator: Operator, size: int, count: int, device: torch.device) -> None:
        self.operator, self.size, self.count, self.device = operator, size, count, device
        self.kept = count + _BLOCK
        blocks = -(-max(5 * count // 2, _LEAST_WIDTH) // _BLOCK)
        self.width = min(self.kept + -(-self.kept // _BLOCK) * _BLOCK, size - 2 * _BLOCK)
        self.width = max(self.width, min(blocks * _BLOCK, size - 2 * _BLOCK))
        # Rows, not columns: products with a few vectors then read memory in order.
        self.basis = torch.zeros(self.width + _BLOCK, size, dtype=torch.float64, device=device)
        self.projected = torch.zeros(self.width, self.width, dtype=torch.float64, device=device)
        self.generator = torch.Generator().manual_seed(0)
        self.filled = 0
        self.basis[:_BLOCK] = torch.linalg.qr(self._random().T)[0].T

    def solve(self, tolerance: float) -> Eigenpairs:
        for _ in range(_RESTARTS):
            while self.filled + _BLOCK <= self.width:
                coupling = self._extend()
            active = self.projected[: self.filled, : self.filled]
            values, rotation = torch.linalg.eigh((active + active.T) / 2)
            values, rotation = values.flip(0), rotation.flip(1)
            # The residual of a Ritz vector lies in the block that comes next, so its norm costs no product.
            residuals = (coupling @ rotation[-_BLOCK:, : self.count]).norm(dim=0)
            residual = float(residuals.max() / values.abs().max().clamp(min=1e-300))
            if residual <= tolerance:
                break
            self._restart(values[: self.kept], rotation[:, : self.kept])
        else:
            raise ConfigError(
                f"The {self.count} leading eigenvectors of a network of {self.size:,} genes reached a "
                f"residual of {residual:.1e}, not {tolerance:.0e}. Ask for fewer components."
            )
        vectors = (rotation[:, : self.count].T @ self.basis[: self.filled]).T
        return Eigenpairs(values[: self.count], signed(vectors), residual)

    def _extend(self) -> Tensor:
        """Take the next block into the basis and append the one after it; return how the two are coupled."""
        start, end = self.filled, self.filled + _BLOCK
        image = self.operator(self.basis[start:end].T).T.contiguous()
        basis = self.basis[:end]
        inside = basis @ image.T
        rest = image - inside.T @ basis
        self.projected[:end, start:end] = inside
        self.projected[start:end, :end] = inside.T
        after, coupling = self._orthonormal(rest, basis)
        self.basis[end : end + _BLOCK] = after
        self.filled = end
        return coupling

    def _orthonormal(self, rest: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
        """Return rows that span `rest`, orthonormal also to the basis, and its coefficients in them."""
        after, triangle = torch.linalg.qr(rest.T)
        after = after.T
        # Where the space is exhausted (an island of genes), a fresh direction goes on from elsewhere.
        spent = triangle.diagonal().abs() < _EXHAUSTED
        for _ in range(1 + 2 * bool(spent.any())):
            after = torch.where(spent[:, None], self._random(), after)
            spent = torch.zeros_like(spent)
            after = torch.linalg.qr((after - (after @ basis.T) @ basis).T)[0].T
        return after, after @ rest.T

    def _restart(self, values: Tensor, rotation: Tensor) -> None:
        kept = len(values)
        following = self.basis[self.filled : self.filled + _BLOCK].clone()
        self.basis[:kept] = rotation.T @ self.basis[: self.filled]
        self.basis[kept : kept + _BLOCK] = following
        self.projected.zero_()
        self.projected[:kept, :kept] = torch.diag(values)
        self.filled = kept

    def _random(self) -> Tensor:
        # Drawn on the CPU, so that every device starts alike.
        drawn = torch.randn(_BLOCK, self.size, dtype=torch.float64, generator=self.generator)
        return drawn.to(self.device)
