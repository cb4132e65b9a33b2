"""The exponential moving average of weights, which validation and the bundle use."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class MovingAverage:
    r"""Keep :math:`a \leftarrow d_n a + (1 - d_n) w` with :math:`d_n = \min(d, (1 + n) / (10 + n))`.

    n counts the updates so far, so that the first steps do not hold on to random initial weights.

    Parameters
    ----------
    averaged
        Tensors that hold the average; changed in place.
    live
        The weights, in the same order; re-read at each update.
    decay
        d; with 0 the average is a copy.
    """

    def __init__(self, averaged: Iterable[Tensor], live: Iterable[Tensor], decay: float) -> None:
        self._averaged = [tensor.detach() for tensor in averaged]
        self._live = [tensor.detach() for tensor in live]
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after an optimiser step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.decay else 0.0
        self.updates += 1
        if decay == 0.0:
            torch._foreach_copy_(self._averaged, self._live)
        else:
            torch._foreach_lerp_(self._averaged, self._live, 1.0 - decay)
