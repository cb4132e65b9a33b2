"""The network of response_mlp: the trunk with a head for the mean and one for the spread."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pertcast.models.batch import ConditionBatch, ModelSpace
from pertcast.models.layers.condition_trunk import ConditionTrunk
from pertcast.models.noise import KeyedNoise
from pertcast.models.response_mlp.config import ResponseMlpConfig

LOG_SD_RANGE = (-4.0, 3.0)


class ResponseNetwork(ConditionTrunk):
    """Standardised response of conditions: deviation from the centre, and log sd.

    The output layers start at zero: an untrained network predicts the centre with the training sd. The
    spread is read off the detached trunk, so that fitting it never moves the mean.
    """

    def __init__(self, config: ResponseMlpConfig, space: ModelSpace, conditions: ConditionBatch) -> None:
        super().__init__(config, space, conditions)
        width, genes = config.width, space.n_genes
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
        hidden = self.hidden(conditions, basal, noise, keys)
        mean = self.mean(hidden).float() + self._own_gene_shift(conditions)
        return mean, self.log_sd(hidden.detach()).float().clamp(*LOG_SD_RANGE)

    def _own_gene_shift(self, conditions: ConditionBatch) -> Tensor:
        """Return (N, G): the learnt effect of each perturbation type on the gene it targets."""
        pert_type = torch.where(conditions.pert_type < 0, len(self.own_gene) - 1, conditions.pert_type)
        shift = self.own_gene.float()[pert_type] * (conditions.own_gene >= 0)
        empty = shift.new_zeros(shift.shape[0], self.mean.out_features)
        return empty.scatter_add(1, conditions.own_gene.clamp(min=0), shift)
