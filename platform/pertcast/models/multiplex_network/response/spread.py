r"""How far measured scores lie from predicted ones, by what is known near a condition.

.. math:: v = s \, k_{**} - s^2 k_*^T (s K + (1 - s) N)^{-1} k_* + (1 - s) n, \quad
          (s K + (1 - s) N)^{-1} = E^T (s \Lambda + 1 - s)^{-1} E

over a part of the training conditions: what the others know is not counted, so v is rather too large.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pertcast.models.batch import ModelSpace
from pertcast.models.multiplex_network.response.covariance import Shape, Slots, covariance, own_variance
from pertcast.models.multiplex_network.response.fitting import ProcessData, Solution
from pertcast.models.multiplex_network.response.tuning import JITTER, component_classes

_LEAST = 1e-6


class Spread(nn.Module):
    """Variance of measured scores around predicted ones, and what it means for genes.

    Parameters
    ----------
    count
        M, training conditions that it is computed from.
    n_classes
        O, classes of components.
    space
        Of the training store.

    Attributes
    ----------
    rows
        (M,) int64, the training conditions.
    projection
        (M, M), E: the eigenvectors of K in units of the noise, one a row: all classes share them.
    precision
        (M, O): squared signal of a class over its variance along each eigenvector.
    signal
        (O,) share of a class's variance that is signal.
    noise
        (T + 1,) by type.
    typical
        (O,) variance of left-out training conditions.
    gene_share
        (O + 1, G) share of a gene's variance that lies in each class; the last row outside of all.
    """

    rows: Tensor
    projection: Tensor
    precision: Tensor
    signal: Tensor
    noise: Tensor
    typical: Tensor
    gene_share: Tensor

    def __init__(self, count: int, n_classes: int, space: ModelSpace) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(count, dtype=torch.int64))
        self.register_buffer("projection", torch.zeros(count, count))
        self.register_buffer("precision", torch.zeros(count, n_classes))
        self.register_buffer("signal", torch.zeros(n_classes))
        self.register_buffer("noise", torch.ones(len(space.pert_types) + 1))
        self.register_buffer("typical", torch.ones(n_classes))
        self.register_buffer("gene_share", torch.zeros(n_classes + 1, space.n_genes))

    def solve(self, data: ProcessData, solution: Solution, used: Tensor, components: Tensor) -> None:
        """Keep what the variances are computed from.

        Parameters
        ----------
        data, solution
            The n conditions that the process is solved on, and its solution.
        used
            (n,) int64 their places among the training conditions.
        components
            (K, G).
        """
        count, tuned = len(self.rows), solution.tuned
        even = torch.linspace(0, len(used) - 1, count, device=used.device).round().long()
        slots = data.slots.take(even)
        common = covariance(slots, slots, tuned.shape)
        noise = tuned.diagonal(slots.last_kind(), data.few[even])
        self.rows.copy_(used[even])
        self.precision.zero_()
        self.signal.zero_()
        self.typical.fill_(1.0)
        root = noise.clamp(min=_LEAST).sqrt()
        values, vectors = torch.linalg.eigh(common / root / root.unsqueeze(1))
        self.projection.copy_((vectors / root.unsqueeze(1)).T)
        for number, signal in enumerate(tuned.signal):
            along = signal * values.clamp(min=0) + (1 - signal) + JITTER
            self.precision[:, number] = signal.square() / along
            self.signal[number] = signal
            self.typical[number] = solution.variance[number]
        self.noise[:-1] = tuned.noise.to(self.noise)
        self.noise[-1] = tuned.noise.mean()
        self._keep_shares(data.scale, components)

    def _keep_shares(self, scale: Tensor, components: Tensor) -> None:
        """Store which share of a gene's variance lies in which class of components."""
        size = (components * scale.unsqueeze(1)).square()
        classes = component_classes(len(scale)).to(size.device)
        shares = size.new_zeros(self.gene_share.shape).index_add_(0, classes, size)
        shares[-1] = (1 - shares.sum(dim=0)).clamp(min=0)
        self.gene_share.copy_(shares)

    def total_variance(self, asked: Slots, known: Slots, shape: Shape) -> Tensor:
        """Return (N, O) the variance of a measured profile of typical depth around the prediction."""
        near = covariance(known.take(self.rows), asked, shape)
        return self.around(near, own_variance(asked, shape), asked.last_kind())

    def around(self, near: Tensor, prior: Tensor, kind: Tensor) -> Tensor:
        """Return (N, O) as `total_variance` does.

        Parameters
        ----------
        near
            (M, N) covariances with the training conditions `rows`.
        prior
            (N,) variances of the conditions.
        kind
            (N,) int64 their types.
        """
        explained = (self.precision.T @ (self.projection @ near).square_()).T
        noise = self.noise[kind].unsqueeze(1)
        left = (self.signal * prior.unsqueeze(1) - explained).clamp(min=0)
        return (left + (1 - self.signal) * noise).clamp(min=_LEAST)

    def relative(self, total: Tensor) -> Tensor:
        """Return (N, G) root of the variance over that of left-out training conditions; `total` is (N, O)."""
        shares, outside = self.gene_share[:-1], self.gene_share[-1]
        typical = (self.typical @ shares + outside).clamp(min=_LEAST)
        return (total @ (shares / typical)).add_(outside / typical).sqrt_()
