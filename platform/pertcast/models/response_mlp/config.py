"""Configuration of response_mlp; its defaults are meant to do no harm on small, noisy data."""

from __future__ import annotations

from pydantic import Field

from pertcast.models.contract import OptimiserConfig
from pertcast.models.layers.config import TrunkConfig


class ResponseMlpConfig(TrunkConfig):
    """Configuration of response_mlp: that of its trunk, and the following.

    Attributes
    ----------
    use_context_mean, use_group_mean
        Start from the shrunken mean response of the context and of the group (plate or batch).
    output_shrinkage
        Weight of the mean squared predicted deviation in the loss: pulls towards those means.
    sd_weight
        Weight of the Gaussian negative log-likelihood that trains the spread.
    target_clip
        Standardised targets are clipped to plus or minus this.
    optimiser, epochs
        How the network is trained.
    """

    use_context_mean: bool = True
    use_group_mean: bool = True
    output_shrinkage: float = Field(0.1, ge=0)
    sd_weight: float = Field(0.1, ge=0)
    target_clip: float = Field(10.0, gt=0)
    optimiser: OptimiserConfig = OptimiserConfig(lr=5e-4, weight_decay=0.05)
    epochs: int = Field(30, ge=1)
