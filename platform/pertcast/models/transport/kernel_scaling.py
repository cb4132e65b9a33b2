r"""Sinkhorn's iteration on many problems side by side: potentials in the log domain, scales between them.

The kernel :math:`e^{f + g - C/\epsilon}` is scaled by vectors u and v, whose logarithms go into the
potentials where they grow too large (Schmitzer 2019): a matrix-vector product costs a tenth of a log-sum-exp.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

ROUNDS_A_CHECK: Final = 10
# exp(-87) is float32's smallest normal number: with both scales below exp(30) what the kernel lost by
# underflow weighs less than exp(-27) of a row.
_LARGEST_LOG_SCALE: Final = 30.0
_LARGEST_RELAXATION: Final = 1.95
_TOLERATED_GROWTH: Final = 4.0


class KernelScaling:
    """B problems with uniform marginals, each in its own state, so that none depends on its neighbours.

    Alternating updates are over-relaxed: the error's decline over ten rounds tells how fast plain rounds
    converge, and that the best exponent (Lehmann, von Renesse, Sambale & Uschmajew 2021). With
    `is_symmetric` (n = m, symmetric cost) both potentials are one, and an update is averaged with what was
    there (Feydy et al. 2019), which needs no relaxation.

    Parameters
    ----------
    cost
        (B, n, m).
    epsilon
        (B,).
    is_symmetric
        Whether clouds are transported to themselves.

    Attributes
    ----------
    error
        (B,) larger one of the mean relative errors of rows' and columns' sums, at the last check.
    """

    def __init__(self, cost: Tensor, epsilon: Tensor, is_symmetric: bool) -> None:
        self.is_symmetric = is_symmetric
        self._cost, self._factor = cost, epsilon.to(cost).reciprocal().neg().view(-1, 1, 1)
        # Hard potentials first: the largest entry of every row and column of the kernel is then 1.
        kernel = cost * self._factor
        self._first = -kernel.amax(dim=2) * (0.5 if is_symmetric else 1.0)
        kernel += self._first.unsqueeze(2)
        self._second = self._first if is_symmetric else -kernel.amax(dim=1)
        kernel += self._second.unsqueeze(1)
        self._kernel = kernel.exp_()
        self._transposed = self._kernel if is_symmetric else self._kernel.mT.contiguous()
        self._u, self._v = torch.ones_like(self._first), torch.ones_like(self._second)
        self._is_done = torch.zeros(len(cost), dtype=torch.bool, device=cost.device)
        self.error = cost.new_full((len(cost),), math.inf)
        self._rate, self._relaxation = torch.zeros_like(self.error), torch.ones_like(self.error)

    def advance(self, tolerance: float) -> bool:
        """Do ten rounds of every problem that is not done yet; return whether any is left."""
        u, v = self._rounds(self._relaxation.unsqueeze(1))
        largest = torch.maximum(u.log().abs().amax(dim=1), v.log().abs().amax(dim=1))
        is_lost = ~(largest < _LARGEST_LOG_SCALE) & ~self._is_done
        is_kept = ~(is_lost | self._is_done)
        error = (u * self._row_sums(v) - 1).abs().mean(dim=1)
        if not self.is_symmetric:
            error = torch.maximum(error, (v * self._column_sums(u) - 1).abs().mean(dim=1))
            self._relax(error)
        self._u = torch.where(is_kept.unsqueeze(1), u, self._u)
        self._v = torch.where(is_kept.unsqueeze(1), v, self._v)
        self.error = torch.where(is_kept, error, self.error)
        self._is_done = self._is_done | (is_kept & (error < tolerance))
        any_lost, all_done = torch.stack((is_lost.any(), self._is_done.all())).tolist()
        if any_lost:
            self._restart(torch.nonzero(is_lost).flatten())
        return not all_done

    def finish(self) -> tuple[Tensor, Tensor, Tensor]:
        """Do a last plain round; return potentials (B, n), (B, m) in units of epsilon and plans (B, n, m).

        Columns of the plans then sum to 1/m up to rounding. The kernel becomes the plan: call it once.
        """
        if not self.is_symmetric:
            self._u = self._row_sums(self._v).reciprocal()
            self._v = self._column_sums(self._u).reciprocal()
        first, second = self._first + self._u.log(), self._second + self._v.log()
        size = self._kernel.shape[1] * self._kernel.shape[2]
        plan = self._kernel.mul_((self._u / size).unsqueeze(2)).mul_(self._v.unsqueeze(1))
        return first, second, plan

    def _row_sums(self, v: Tensor) -> Tensor:
        # One row times a matrix is the fast case of batched products: hence the transposed copy.
        return torch.bmm(v.unsqueeze(1), self._transposed).squeeze(1) / v.shape[1]

    def _column_sums(self, u: Tensor) -> Tensor:
        return torch.bmm(u.unsqueeze(1), self._kernel).squeeze(1) / u.shape[1]

    def _rounds(self, relaxation: Tensor) -> tuple[Tensor, Tensor]:
        u, v = self._u, self._v
        is_plain = bool((relaxation == 1).all())
        for _ in range(ROUNDS_A_CHECK):
            if self.is_symmetric:
                u = v = (u / self._row_sums(u)).sqrt()
            elif is_plain:
                u = self._row_sums(v).reciprocal()
                v = self._column_sums(u).reciprocal()
            else:
                u = u / (u * self._row_sums(v)).pow(relaxation)
                v = v / (v * self._column_sums(u)).pow(relaxation)
        return u, v

    def _relax(self, error: Tensor) -> None:
        """Choose each problem's exponent for its next rounds.

        Rounds relaxed by w shrink the error by r, with (r + w - 1)^2 = r w^2 p where plain ones shrink it by
        p (Young 1954); the best w is 2 / (1 + sqrt(1 - p)). Where the error has grown, plain rounds follow.
        """
        seen = (error / self.error).pow(1 / ROUNDS_A_CHECK)
        past = self._relaxation
        plain = (seen + past - 1).square() / (seen * past.square())
        is_telling = (seen > past - 1) & (seen < 1) & self.error.isfinite()
        rate = torch.where(is_telling, torch.maximum(self._rate, plain.clamp(max=1)), self._rate)
        has_grown = ~(error < _TOLERATED_GROWTH * self.error)
        self._rate = torch.where(has_grown, 0, rate)
        best = 2 / (1 + (1 - self._rate).sqrt())
        self._relaxation = torch.where(self._is_done, past, best.clamp(max=_LARGEST_RELAXATION))

    def _restart(self, lost: Tensor) -> None:
        """Do the rounds of these problems in the log domain, from their last safe scales, and go on there."""
        scaled = self._cost[lost] * self._factor[lost]
        first, second = self._first[lost] + self._u[lost].log(), self._second[lost] + self._v[lost].log()
        rows, columns = math.log(scaled.shape[1]), math.log(scaled.shape[2])
        for _ in range(ROUNDS_A_CHECK):
            update = columns - torch.logsumexp(scaled + second.unsqueeze(1), dim=2)
            first = 0.5 * (first + update) if self.is_symmetric else update
            update = rows - torch.logsumexp(scaled + first.unsqueeze(2), dim=1)
            second = first if self.is_symmetric else update
        kernel = scaled.add_(first.unsqueeze(2)).add_(second.unsqueeze(1)).exp_()
        self._first[lost], self._second[lost] = first, second
        self._kernel[lost] = kernel
        if not self.is_symmetric:
            self._transposed[lost] = kernel.mT
        self._u[lost], self._v[lost] = 1.0, 1.0
        self._rate[lost], self._relaxation[lost] = 0.0, 1.0
