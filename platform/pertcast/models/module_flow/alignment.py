r"""Distances between generated and measured cells of one condition, over gene modules and over pathways.

Correlation: :math:`|R(\hat x) - R(x)|_F / K` of K module means over cells; pathways: Sinkhorn divergence of
their scores. Both act on groups of cells side by side and are differentiable in the generated ones.
"""

from __future__ import annotations

from typing import Final

import torch
from pertcast_data.errors import ConfigError
from torch import Tensor, nn

from pertcast.models.transport.sinkhorn import (
    as_points,
    centred,
    relative_epsilon,
    sinkhorn_divergence,
    squared_distances,
)

LEAST_VARIANCE: Final = 1e-8
# Correlations say nothing of a module whose variance is rounding beside the others', and their gradient, of
# the order of 1 / sd, would be large there.
_LEAST_VARIANCE_SHARE: Final = 1e-6
_LEAST_SD_SHARE: Final = 0.1
_ROUNDS: Final = 200
_TOLERANCE: Final = 1e-4


def membership_means(membership: Tensor, gene_weight: Tensor | None = None) -> Tensor:
    """Return the linear map (G, S) from genes to weighted means over the members of S sets.

    Parameters
    ----------
    membership
        (S, G) of 0 and 1; a set without members gives a column of zeros.
    gene_weight
        (G,) factor of each gene; 1 by default.
    """
    members = membership.float()
    means = members / members.sum(dim=1, keepdim=True).clamp(min=1)
    return (means if gene_weight is None else means * gene_weight).T.contiguous()


class GeneMap(nn.Module):
    """A fixed linear map from cells (..., G) to scores (..., S), in float32 whatever autocast says.

    Attributes
    ----------
    weight
        (G, S) float32; moves with the module, and is not saved, as it follows from what it is made of.
    """

    weight: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, cells: Tensor) -> Tensor:
        """Return the scores of cells."""
        with torch.autocast(cells.device.type, enabled=False):
            return cells.float() @ self.weight


class ModuleMeans(GeneMap):
    """Mean over the genes of each module.

    Parameters
    ----------
    labels
        (G,) int64 module of each gene, 0 to K - 1; -1 for none. An empty module's mean is 0.
    n_modules
        K.

    Raises
    ------
    ConfigError
        A label is outside of -1 to K - 1.
    """

    def __init__(self, labels: Tensor, n_modules: int) -> None:
        outside = torch.nonzero((labels < -1) | (labels >= n_modules)).flatten()
        if len(outside):
            raise ConfigError(
                f"Gene {int(outside[0])} has module {int(labels[outside[0]])}, and there are {n_modules}: "
                f"labels run from 0 to {n_modules - 1}, -1 for genes of no module."
            )
        modules = torch.arange(n_modules, device=labels.device)
        super().__init__(membership_means(labels.unsqueeze(0) == modules.unsqueeze(1)))


class PathwayScores(GeneMap):
    """Mean over the members of each pathway, in units of its sd over control cells.

    Parameters
    ----------
    membership
        (P', G) of 0 and 1.
    controls
        (M, G) control cells. Of fewer than two nothing is known of the sd: it is then taken as that of
        independent genes of sd 1, 1 / sqrt(members).
    smallest, largest
        Pathways with fewer or more of the G genes are left out.

    Attributes
    ----------
    kept
        (P,) int64 rows of `membership` that are scored.

    Raises
    ------
    ConfigError
        No pathway is of such a size.
    """

    kept: Tensor

    def __init__(self, membership: Tensor, controls: Tensor, smallest: int = 10, largest: int = 300) -> None:
        size = (membership > 0).sum(dim=1)
        kept = torch.nonzero((size >= smallest) & (size <= largest)).flatten()
        if not len(kept):
            sizes = f"sizes run from {int(size.min())} to {int(size.max())}" if len(size) else "none given"
            raise ConfigError(
                f"No pathway has {smallest} to {largest} of the {membership.shape[1]} genes ({sizes}): "
                "give gene sets by the names that the store's genes have, or other limits."
            )
        means = membership_means(membership[kept])
        if len(controls) > 1:
            sd = (controls.float() @ means).std(dim=0, correction=0)
            # A pathway silent in controls is measured by others' sd: it may speak up when perturbed.
            sd = sd.clamp(min=max(_LEAST_SD_SHARE * float(sd.median()), LEAST_VARIANCE**0.5))
        else:
            sd = size[kept].float().rsqrt()
        super().__init__(means / sd)
        self.register_buffer("kept", kept, persistent=False)


def correlation_of(covariance: Tensor) -> Tensor:
    """Return correlations (..., K, K) from covariances of the same shape.

    A module without variance (at most `LEAST_VARIANCE`, or a millionth of the modules' mean variance) has
    correlation 0 with every module and with itself, and no gradient.
    """
    variance = covariance.diagonal(dim1=-2, dim2=-1)
    floor = (_LEAST_VARIANCE_SHARE * variance.detach().mean(dim=-1, keepdim=True)).clamp(min=LEAST_VARIANCE)
    varies = variance > floor
    # Chosen before the root is taken, so that the gradient of what is left out is 0 and not NaN.
    scale = torch.where(varies, variance, 1.0).rsqrt() * varies
    return covariance * scale.unsqueeze(-1) * scale.unsqueeze(-2)


def correlations(means: Tensor) -> Tensor:
    """Return (B, K, K) correlations over the n cells of module means (B, n, K); see `correlation_of`."""
    with torch.autocast(means.device.type, enabled=False):
        points, _ = centred(as_points(means))
        return correlation_of(points.mT @ points / points.shape[1])


def correlation_distance(means: Tensor, target: Tensor) -> Tensor:
    r"""Return (B,) :math:`|R - R^*|_F / K` of groups of cells to the correlations of their conditions.

    A sample of n cells is about :math:`\sqrt{1/n}` from its own population, two samples :math:`\sqrt{2/n}`
    from each other (less where modules are correlated): what is below that is noise.

    Parameters
    ----------
    means
        (B, n, K) module means of generated cells.
    target
        (B, K, K) correlations R*, over all training cells of each group's condition.
    """
    with torch.autocast(means.device.type, enabled=False):
        apart = correlations(means) - target
        distance: Tensor = torch.linalg.vector_norm(apart, dim=(1, 2))
        return distance / means.shape[2]


def pathway_distance(generated: Tensor, measured: Tensor, epsilon: float = 0.1) -> Tensor:
    """Return (B,) debiased Sinkhorn divergences between pathway scores, a pathway.

    The cost of two cells is the mean squared difference of their scores; see `sinkhorn_divergence`.

    Parameters
    ----------
    generated, measured
        (B, n, P) and (B, m, P) scores; n and m may differ.
    epsilon
        Regularisation in units of each group's median cost, held fixed in the gradient.
    """
    with torch.autocast(generated.device.type, enabled=False):
        unit = generated.shape[2] ** -0.5
        first, second = as_points(generated) * unit, as_points(measured) * unit
        middle = second.detach().mean(dim=1, keepdim=True)
        cost = squared_distances(first.detach() - middle, second.detach() - middle)
        absolute = relative_epsilon(cost, epsilon, "median")
        return sinkhorn_divergence(first, second, absolute, _ROUNDS, _TOLERANCE)
