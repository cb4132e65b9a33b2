"""Settings of the trunk that turns a condition and its basal profile into a hidden vector."""

from __future__ import annotations

from pydantic import Field

from pertcast.models.contract import ModelConfig


class TrunkConfig(ModelConfig):
    """Settings of `ConditionTrunk`.

    Attributes
    ----------
    width
        Width of the trunk.
    depth
        Number of residual blocks.
    basal_width
        Width that the basal profile is squeezed to before it meets the perturbation.
    use_basal
        Whether the basal profile is looked at; without it no cell line that training lacked is told apart.
    dropout
        Share of the trunk's units dropped in training.
    dose_frequencies
        Number of sine and cosine pairs that describe log dose beside its linear term.
    context_embedding
        Learn a vector for each training context. Of no use to unseen contexts, hence off.
    """

    width: int = Field(256, ge=8)
    depth: int = Field(2, ge=1)
    basal_width: int = Field(64, ge=1)
    use_basal: bool = True
    dropout: float = Field(0.2, ge=0, lt=1)
    dose_frequencies: int = Field(3, ge=0)
    context_embedding: bool = False
