"""Configuration of the autoencoder over gene modules."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pertcast.models.contract import ModelConfig, OptimiserConfig


class GeneAutoencoderConfig(ModelConfig):
    """How single cells are compressed.

    Attributes
    ----------
    kind
        "pca": linear, the components of cells and condition means; "modules": attention among gene modules
        beside that linear part. It restores more where genes of a module follow curves; on cells of the
        simulated atlas it restores held-out conditions as "pca" does, no better, and has to be trained.
    latent_dim
        Dimensions of the latent space, at most the number of genes.
    condition_weight
        How much the means of conditions count beside single cells, in components and in training; 0: cells
        alone. Most of what single cells vary by is noise, on which plain components spend their dimensions.
    width, depth, heads, inducing, feed_forward
        Of the attention blocks on either side, for a laptop; scBIG (Ruan et al. 2026) has 256, 3, 8, 8 and
        512.
    dropout
        Share of a cell's channels dropped in training.
    mask_share
        Share of the genes hidden from the encoder in training, which has to restore them from the others.
    control_share
        Share of training rows that give way to a control cell.
    optimiser, epochs
        How the autoencoder is trained ("modules").
    """

    kind: Literal["modules", "pca"] = "pca"
    latent_dim: int = Field(50, ge=1)
    condition_weight: float = Field(20.0, ge=0)
    width: int = Field(32, ge=8)
    depth: int = Field(1, ge=1)
    heads: int = Field(2, ge=1)
    inducing: int = Field(8, ge=1)
    feed_forward: int = Field(64, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    mask_share: float = Field(0.0, ge=0, lt=1)
    control_share: float = Field(0.2, ge=0, le=0.5)
    optimiser: OptimiserConfig = OptimiserConfig(lr=1e-3)
    epochs: int = Field(20, ge=1)

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> GeneAutoencoderConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        return self
