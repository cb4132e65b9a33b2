r"""Units of inputs and targets, from training rows alone.

.. math:: s = \mathrm{clip}\left(\frac{y - \mu_{tg}}{\sigma_{tg} \, l_t}, -1, 1\right)

for type t and gene g, so that a network that ends in tanh can reach its targets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from pertcast.models.batch import Batch, ConditionBatch, ModelSpace
from pertcast.models.contract import StatisticsStage
from pertcast.models.layers.scaling import SD_FLOOR
from pertcast.models.multiplex_network.reference.condition_types import condition_type, is_control
from pertcast.models.multiplex_network.reference.cross_type import MeasuredProfiles

LEAST_LIMIT: Final = 3.0
"""Least limit in sd of the rows, so that rows of noisy conditions are not cut on one side."""

_INPUT_CLIP: Final = 10.0


class FeatureScaling(nn.Module):
    """Features with mean 0 and sd 1 over the distinct perturbations of training, clipped to plus or minus 10.

    Attributes
    ----------
    mean, sd
        (F,).
    """

    mean: Tensor
    sd: Tensor

    def __init__(self, conditions: ConditionBatch) -> None:
        super().__init__()
        used = conditions.features[torch.unique(conditions.slot[conditions.slot >= 0])].double()
        empty = used.new_zeros(1, used.shape[1])
        known = used if len(used) else empty
        self.register_buffer("mean", known.mean(dim=0).float())
        self.register_buffer("sd", _floored(known.var(dim=0, correction=0)).float())

    def forward(self, features: Tensor) -> Tensor:
        """Return standardised features, any shape that ends in F."""
        return ((features - self.mean) / self.sd).clamp(-_INPUT_CLIP, _INPUT_CLIP)

    def summed(self, conditions: ConditionBatch) -> Tensor:
        """Return (N, F): the sum of the standardised features of each condition's perturbations."""
        filled = conditions.slot >= 0
        features: Tensor = self(conditions.features[conditions.slot.clamp(min=0)])
        return (features * filled.unsqueeze(-1)).sum(dim=1)


class TypeScaling(nn.Module):
    """Units of the targets by perturbation type.

    Attributes
    ----------
    mean
        (T + 1, G) mean over the type's training conditions of their mean response; the last row is over all.
    sd
        (T + 1, G) sd of the training rows around it.
    limit
        (T + 1,) number of sd that stands for 1: the quantile of the conditions' mean responses, 3 at least.
    """

    mean: Tensor
    sd: Tensor
    limit: Tensor

    def __init__(self, space: ModelSpace) -> None:
        super().__init__()
        shape = (len(space.pert_types) + 1, space.n_genes)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("sd", torch.ones(shape))
        self.register_buffer("limit", torch.full(shape[:1], LEAST_LIMIT))

    def scale(self, response: Tensor, kind: Tensor) -> Tensor:
        """Return responses (N, G) of types `kind` (N,) in [-1, 1]."""
        unit = self.sd[kind] * self.limit[kind].unsqueeze(1)
        return ((response - self.mean[kind]) / unit).clamp(-1, 1)

    def unscale(self, scaled: Tensor, kind: Tensor) -> Tensor:
        """Return the responses (N, G) that `scaled` stands for."""
        return self.mean[kind] + scaled * self.sd[kind] * self.limit[kind].unsqueeze(1)


def _floored(variance: Tensor) -> Tensor:
    sd = variance.clamp(min=0).sqrt()
    varying = sd[sd > 1e-6]
    if varying.numel() == 0:
        return torch.ones_like(sd)
    floored = sd.clamp(min=SD_FLOOR * float(varying.median()))
    return torch.where(sd > 0, floored, 1.0)


class ProfilesStage(StatisticsStage):
    """Solves `TypeScaling` and fills `MeasuredProfiles` from the training rows.

    Parameters
    ----------
    scaling, profiles
        Filled by `finish`; no profiles are kept where there is no second stage.
    conditions
        The C training conditions.
    limit_quantile
        See `TranscriptionNetConfig`.
    """

    name = "profiles"

    def __init__(
        self,
        scaling: TypeScaling,
        profiles: MeasuredProfiles | None,
        conditions: ConditionBatch,
        limit_quantile: float,
    ) -> None:
        self.scaling = scaling
        self.profiles = profiles
        self.limit_quantile = limit_quantile
        self.kind = condition_type(conditions, len(scaling.limit) - 1)
        self.is_treated = ~is_control(conditions)

    def start(self) -> dict[str, Tensor]:
        """Return zeroed sums, float64."""
        types, genes = self.scaling.mean.shape
        shapes = {"sum": (len(self.kind), genes), "square": (types, genes), "count": (len(self.kind),)}
        return {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}

    def update(self, sums: dict[str, Tensor], batch: Batch) -> None:
        """Add the treated rows of one batch."""
        device = sums["sum"].device
        used = (batch.condition_index >= 0) & ~is_control(batch.conditions)
        index, target = batch.condition_index[used].to(device), batch.target[used].to(device, torch.float64)
        sums["sum"].index_add_(0, index, target)
        sums["square"].index_add_(0, self.kind.to(device)[index], target.square())
        sums["count"].index_add_(0, index, torch.ones_like(index, dtype=torch.float64))

    def finish(self, sums: Mapping[str, Tensor]) -> None:
        """Solve means, sd and limits; keep the mean profiles of the training conditions."""
        count = sums["count"]
        kind, is_treated = self.kind.to(count.device), self.is_treated.to(count.device)
        profile = sums["sum"] / count.clamp(min=1).unsqueeze(1)
        is_measured = (count > 0) & is_treated
        last = len(self.scaling.limit) - 1
        for number in range(last + 1):
            chosen = is_measured & ((kind == number) if number < last else torch.ones_like(is_measured))
            square = sums["square"][number] if number < last else sums["square"].sum(dim=0)
            if bool(chosen.any()):
                self._solve_type(number, profile[chosen], count[chosen], sums["sum"][chosen].sum(0), square)
        if self.profiles is not None:
            scaled = self.scaling.scale(profile.float(), kind)
            self.profiles.fill(scaled, is_measured)

    def _solve_type(self, number: int, profile: Tensor, count: Tensor, total: Tensor, square: Tensor) -> None:
        """Solve one type from its conditions' mean responses (M, G) and counts, and its rows' sums (G,)."""
        rows, mean = count.sum(), profile.mean(dim=0)
        sd = _floored((square - 2 * mean * total) / rows + mean.square())
        deviation = ((profile - mean) / sd).abs().flatten()
        place = max(1, round(self.limit_quantile * deviation.numel()))
        self.scaling.mean[number].copy_(mean)
        self.scaling.sd[number].copy_(sd)
        self.scaling.limit[number] = max(LEAST_LIMIT, float(deviation.kthvalue(place).values))
