"""A set of perturbations of any size as one vector: tokens, pooled by attention from one learnt seed.

A learnt null token always takes part, so an empty set (a control, or hidden perturbations) is a state of its
own and not a zero; empty slots are masked, and the order of the slots cannot matter.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pertcast.models.batch import ConditionBatch, ModelSpace
from pertcast.models.layers.condition_encoding import LogScaleFeatures, unit_scale
from pertcast.models.module_flow.config import ConditionSetConfig


class PerturbationSet(nn.Module):
    """Perturbations (features, single effects, types, doses), time and basal profile as (N, W).

    Parameters
    ----------
    config
        Widths.
    space, conditions
        What the model is built from.
    latent_dim
        D, width of the single effects.
    """

    feature_scale: Tensor

    def __init__(
        self, config: ConditionSetConfig, space: ModelSpace, conditions: ConditionBatch, latent_dim: int
    ) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.features = nn.Linear(space.feature_width, width, bias=False)
        self.effect = nn.Linear(latent_dim, width, bias=False)
        self.pert_type = nn.Embedding(len(space.pert_types) + 1, width)
        self.log_scale = LogScaleFeatures(config.dose_frequencies)
        self.dose = nn.Linear(self.log_scale.width, width, bias=False)
        self.time = nn.Linear(self.log_scale.width, width, bias=False)
        self.token = nn.Linear(width, width)
        self.null = nn.Parameter(0.1 * torch.randn(width))
        self.seed = nn.Parameter(torch.randn(width))
        self.keys = nn.Linear(width, width)
        self.values = nn.Linear(width, width)
        self.pooled = nn.Linear(width, width)
        squeezed = config.basal_width
        self.basal = (
            nn.Sequential(nn.Linear(space.n_genes, squeezed), nn.SiLU(), nn.Linear(squeezed, width))
            if squeezed
            else None
        )
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.pert_type.weight, std=0.1)
        scale = torch.tensor(unit_scale(conditions, space.feature_width))
        self.register_buffer("feature_scale", scale)

    def forward(
        self, conditions: ConditionBatch, effects: Tensor, basal: Tensor, hidden: Tensor | None = None
    ) -> Tensor:
        """Return (N, W).

        Parameters
        ----------
        conditions
            N conditions of S slots.
        effects
            (N, S, D) single effects of the slots.
        basal
            (N, G) standardised basal profiles.
        hidden
            (N,) bool: whose perturbations are hidden; None: nobody's.
        """
        tokens, filled = self._tokens(conditions, effects)
        if hidden is not None:
            filled = filled & ~hidden.unsqueeze(1)
        null = self.null.expand(len(conditions), 1, -1)
        told = self._pool(torch.cat((null, tokens), dim=1), functional.pad(filled, (1, 0), value=True))
        told = told + self.time(self.log_scale(conditions.log_time).to(told.dtype))
        if self.basal is not None:
            told = told + self.basal(basal.to(told.dtype))
        normalised: Tensor = self.norm(told)
        return normalised

    def _tokens(self, conditions: ConditionBatch, effects: Tensor) -> tuple[Tensor, Tensor]:
        """Return (N, S, W) tokens and (N, S) which slots are filled."""
        dtype = self.features.weight.dtype
        features, filled = conditions.slot_features()
        last_type = self.pert_type.num_embeddings - 1
        pert_type = torch.where(conditions.pert_type < 0, last_type, conditions.pert_type)
        hidden = self.features((features * self.feature_scale).to(dtype)) + self.effect(effects.to(dtype))
        hidden = hidden + self.dose(self.log_scale(conditions.log_dose).to(dtype))
        tokens: Tensor = self.token(functional.silu(hidden + self.pert_type(pert_type)))
        return tokens, filled

    def _pool(self, tokens: Tensor, taking_part: Tensor) -> Tensor:
        """Return (N, W): attention of the seed over the tokens (N, T, W) that take part (N, T)."""
        number, length, width = tokens.shape
        by_head = (number, length, self.heads, width // self.heads)
        keys = self.keys(tokens).view(by_head).transpose(1, 2)
        values = self.values(tokens).view(by_head).transpose(1, 2)
        seed = self.seed.to(tokens.dtype).view(1, self.heads, 1, -1).expand(number, -1, -1, -1)
        mask = taking_part[:, None, None, :]
        found = functional.scaled_dot_product_attention(seed, keys, values, attn_mask=mask)
        pooled: Tensor = self.pooled(found.transpose(1, 2).reshape(number, width))
        return pooled
