"""The network of response_mlp: perturbation tokens are summed, meet the basal state, and pass a trunk."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from pertcast.models.batch import ConditionBatch, ModelSpace
from pertcast.models.noise import KeyedNoise
from pertcast.models.response_mlp.config import ResponseMlpConfig

LOG_SD_RANGE = (-4.0, 3.0)


class KeyedDropout(nn.Module):
    """Dropout whose mask depends on (seed, step, sample) alone, not on the batch.

    Parameters
    ----------
    share
        Share of units dropped in training.
    stream
        Separates the draws of different layers.
    """

    def __init__(self, share: float, stream: int) -> None:
        super().__init__()
        self.share = share
        self.stream = stream

    def forward(self, hidden: Tensor, noise: KeyedNoise | None, keys: Tensor | None) -> Tensor:
        """Return (N, W) with units dropped where there is noise and the module is training."""
        if not self.training or self.share == 0 or noise is None or keys is None:
            return hidden
        kept = noise.uniform(keys, hidden.shape[1], self.stream) >= self.share
        masked: Tensor = hidden * (kept.to(hidden.dtype) / (1 - self.share))
        return masked


class ResidualBlock(nn.Module):
    """x + dropout(W2 silu(W1 layer_norm(x)))."""

    def __init__(self, width: int, dropout: float, stream: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, 2 * width)
        self.outer = nn.Linear(2 * width, width)
        self.dropout = KeyedDropout(dropout, stream)

    def forward(self, hidden: Tensor, noise: KeyedNoise | None, keys: Tensor | None) -> Tensor:
        """Return (N, W)."""
        change = self.outer(functional.silu(self.inner(self.norm(hidden))))
        kept: Tensor = self.dropout(change, noise, keys)
        return hidden + kept


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

    def __init__(self, config: ResponseMlpConfig, space: ModelSpace, conditions: ConditionBatch) -> None:
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
        scale = torch.tensor(_unit_scale(conditions, space.feature_width))
        self.register_buffer("feature_scale", scale, persistent=False)

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


def _unit_scale(conditions: ConditionBatch, width: int) -> float:
    """Return what brings the features of a typical perturbation to a mean square of one an element."""
    squares = conditions.features.double().square().sum(dim=1)
    used = squares[squares > 0]
    return math.sqrt(width / float(used.mean())) if used.numel() else 1.0


class ResponseNetwork(nn.Module):
    """Standardised response of conditions: deviation from the centre, and log sd.

    The output layers start at zero: an untrained network predicts the centre with the training sd. The
    spread is read off the detached trunk, so that fitting it never moves the mean.
    """

    def __init__(self, config: ResponseMlpConfig, space: ModelSpace, conditions: ConditionBatch) -> None:
        super().__init__()
        width, genes = config.width, space.n_genes
        self.encoding = ConditionEncoding(config, space, conditions)
        self.basal = nn.Sequential(
            nn.Linear(genes, config.basal_width), nn.SiLU(), nn.Linear(config.basal_width, width)
        )
        blocks = [ResidualBlock(width, config.dropout, stream) for stream in range(config.depth)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width)
        self.mean = nn.Linear(width, genes)
        self.log_sd = nn.Linear(width, genes)
        self.own_gene = nn.Parameter(torch.zeros(len(space.pert_types) + 1))
        for layer in (self.mean, self.log_sd):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        conditions: ConditionBatch,
        basal: Tensor,
        noise: KeyedNoise | None = None,
        keys: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the deviation and the log sd, both (N, G) float32 in standardised units.

        Parameters
        ----------
        conditions
            N conditions.
        basal
            (N, G) standardised basal profiles.
        noise, keys
            Source of the dropout masks and the rows' sample ids; training only.
        """
        hidden = self.encoding(conditions) + self.basal(basal.to(self.mean.weight.dtype))
        for block in self.blocks:
            hidden = block(hidden, noise, keys)
        hidden = self.norm(hidden)
        mean = self.mean(hidden).float() + self._own_gene_shift(conditions)
        return mean, self.log_sd(hidden.detach()).float().clamp(*LOG_SD_RANGE)

    def _own_gene_shift(self, conditions: ConditionBatch) -> Tensor:
        """Return (N, G): the learnt effect of each perturbation type on the gene it targets."""
        pert_type = torch.where(conditions.pert_type < 0, len(self.own_gene) - 1, conditions.pert_type)
        shift = self.own_gene.float()[pert_type] * (conditions.own_gene >= 0)
        empty = shift.new_zeros(shift.shape[0], self.mean.out_features)
        return empty.scatter_add(1, conditions.own_gene.clamp(min=0), shift)
