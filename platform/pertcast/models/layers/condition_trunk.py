"""The trunk: perturbation tokens are summed, meet the basal state, and pass residual blocks."""

from __future__ import annotations

from torch import Tensor, nn

from pertcast.models.batch import ConditionBatch, ModelSpace
from pertcast.models.layers.blocks import ResidualBlock
from pertcast.models.layers.condition_encoding import ConditionEncoding
from pertcast.models.layers.config import TrunkConfig
from pertcast.models.noise import KeyedNoise


class ConditionTrunk(nn.Module):
    """Conditions and basal profiles as hidden vectors of unit scale.

    Parameters
    ----------
    config
        Widths and dropout.
    space, conditions
        What the model is built from.
    """

    def __init__(self, config: TrunkConfig, space: ModelSpace, conditions: ConditionBatch) -> None:
        super().__init__()
        width = config.width
        self.encoding = ConditionEncoding(config, space, conditions)
        self.basal = (
            nn.Sequential(
                nn.Linear(space.n_genes, config.basal_width), nn.SiLU(), nn.Linear(config.basal_width, width)
            )
            if config.use_basal
            else None
        )
        blocks = [ResidualBlock(width, config.dropout, stream) for stream in range(config.depth)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width)

    def hidden(
        self, conditions: ConditionBatch, basal: Tensor, noise: KeyedNoise | None, keys: Tensor | None
    ) -> Tensor:
        """Return (N, W).

        Parameters
        ----------
        conditions
            N conditions.
        basal
            (N, G) standardised basal profiles.
        noise, keys
            Source of the dropout masks and the rows' sample ids; training only.
        """
        hidden = self.encoding(conditions)
        if self.basal is not None:
            hidden = hidden + self.basal(basal.to(self.norm.weight.dtype))
        for block in self.blocks:
            hidden = block(hidden, noise, keys)
        normalised: Tensor = self.norm(hidden)
        return normalised
