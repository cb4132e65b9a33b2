"""Configuration of response_mlp; its defaults are meant to do no harm on small, noisy data."""

from __future__ import annotations

from pydantic import Field

from pertcast.models.contract import ModelConfig, OptimiserConfig


class ResponseMlpConfig(ModelConfig):
    """Configuration of response_mlp.

    Attributes
    ----------
    width
        Width of the trunk.
    depth
        Number of residual blocks.
    basal_width
        Width that the basal profile is squeezed to before it meets the perturbation.
    dropout
        Share of the trunk's units dropped in training.
    dose_frequencies
        Number of sine and cosine pairs that describe log dose beside its linear term.
    context_embedding
        Learn a vector for each training context. Of no use to unseen contexts, hence off.
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

    width: int = Field(256, ge=8)
    depth: int = Field(2, ge=1)
    basal_width: int = Field(64, ge=1)
    dropout: float = Field(0.2, ge=0, lt=1)
    dose_frequencies: int = Field(3, ge=0)
    context_embedding: bool = False
    use_context_mean: bool = True
    use_group_mean: bool = True
    output_shrinkage: float = Field(0.1, ge=0)
    sd_weight: float = Field(0.1, ge=0)
    target_clip: float = Field(10.0, gt=0)
    optimiser: OptimiserConfig = OptimiserConfig(lr=5e-4, weight_decay=0.05)
    epochs: int = Field(30, ge=1)
