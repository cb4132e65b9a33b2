"""A condition (perturbations, types, doses, time, context) as one vector, for any number of perturbations."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from pertcast.models.batch import ConditionBatch, ModelSpace
from pertcast.models.layers.config import TrunkConfig


class LogScaleFeatures(nn.Module):
    """Describes a logarithm (dose or time): presence, value, and sines and cosines of it.

    Formula: [1, x, sin(2^k pi x / 4), cos(2^k pi x / 4) for k < n], all zero where x is missing (NaN).
    """

    frequencies: Tensor

    def __init__(self, n_frequencies: int) -> None:
        super().__init__()
        steps = 2.0 ** torch.arange(n_frequencies) * math.pi / 4
        self.register_buffer("frequencies", steps, persistent=False)
        self.width = 2 + 2 * n_frequencies

    def forward(self, values: Tensor) -> Tensor:
        """Return (..., width) for values (...)."""
        present = ~values.isnan()
        known = values.nan_to_num(nan=0.0).unsqueeze(-1)
        angles = known * self.frequencies.to(known.dtype)
        features = torch.cat((torch.ones_like(known), known, angles.sin(), angles.cos()), dim=-1)
        return features * present.unsqueeze(-1)


class ConditionEncoding(nn.Module):
    """A condition's perturbations, time and (if asked for) context as one vector.

    Each slot is a token silu(features + type + dose); tokens are summed, so their order does not matter.
    """

    feature_scale: Tensor

    def __init__(self, config: TrunkConfig, space: ModelSpace, conditions: ConditionBatch) -> None:
        super().__init__()
        width = config.width
        self.features = nn.Linear(space.feature_width, width, bias=False)
        self.pert_type = nn.Embedding(len(space.pert_types) + 1, width)
        self.log_scale = LogScaleFeatures(config.dose_frequencies)
        self.dose = nn.Linear(self.log_scale.width, width, bias=False)
        self.token = nn.Linear(width, width)
        self.time = nn.Linear(self.log_scale.width, width, bias=False)
        self.context = nn.Embedding(len(space.contexts) + 1, width) if config.context_embedding else None
        nn.init.normal_(self.pert_type.weight, std=0.1)
        if self.context is not None:
            nn.init.normal_(self.context.weight, std=0.1)
        scale = torch.tensor(unit_scale(conditions, space.feature_width))
        self.register_buffer("feature_scale", scale)

    def forward(self, conditions: ConditionBatch) -> Tensor:
        """Return (N, W)."""
        dtype = self.features.weight.dtype
        dose = self.dose(self.log_scale(conditions.log_dose).to(dtype))
        last_type = self.pert_type.num_embeddings - 1
        pert_type = torch.where(conditions.pert_type < 0, last_type, conditions.pert_type)
        hidden = self._slot_features(conditions, dtype) + dose + self.pert_type(pert_type)
        tokens = self.token(functional.silu(hidden))
        summed: Tensor = (tokens * (conditions.slot >= 0).unsqueeze(-1)).sum(dim=1)
        summed = summed + self.time(self.log_scale(conditions.log_time).to(dtype))
        if self.context is None:
            return summed
        last_context = self.context.num_embeddings - 1
        context = torch.where(conditions.context < 0, last_context, conditions.context)
        return summed.add(self.context(context))

    def _slot_features(self, conditions: ConditionBatch, dtype: torch.dtype) -> Tensor:
        """Return the projected features of the slots (N, S, W), through the smaller of table and slots."""
        slot = conditions.slot.clamp(min=0)
        if conditions.features.shape[0] <= slot.numel():
            projected: Tensor = self.features((conditions.features * self.feature_scale).to(dtype))
            return projected[slot]
        gathered: Tensor = self.features((conditions.features[slot] * self.feature_scale).to(dtype))
        return gathered


def unit_scale(conditions: ConditionBatch, width: int) -> float:
    """Return what brings the features of a typical perturbation to a mean square of one an element."""
    squares = conditions.features.double().square().sum(dim=1)
    used = squares[squares > 0]
    return math.sqrt(width / float(used.mean())) if used.numel() else 1.0
