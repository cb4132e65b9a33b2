"""How networks are integrated; part of the encoder's options."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

IntegrationMethod = Literal["union", "spectral", "random_walk", "attention"]


class AttentionConfig(BaseModel):
    """Graph attention encoders, one a network, trained to rebuild the networks (docs/gene_features.md).

    Attributes
    ----------
    layers
        Attention layers of an encoder, each seeing one step further.
    heads, head_width
        Attention heads of a layer and the width of each.
    neighbours
        Neighbours sampled of a gene in each layer; all where it has fewer.
    batch_size
        Genes of a batch; the loss is over all of its pairs.
    epochs
        Passes over the genes at most.
    patience
        Epochs without a lower loss after which training ends.
    lr
        Learning rate of Adam.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: int = Field(1, ge=1, le=6)
    heads: int = Field(4, ge=1)
    head_width: int = Field(32, ge=1)
    neighbours: int = Field(8, ge=1)
    batch_size: int = Field(1024, ge=2)
    epochs: int = Field(30, ge=1)
    patience: int = Field(10, ge=1)
    lr: float = Field(3e-3, gt=0)


class IntegrationConfig(BaseModel):
    """Method and its settings.

    Attributes
    ----------
    method
        "union" (one network of all edges, its leading eigenvectors), "spectral" (eigenvectors of every
        network, then their common axes), "random_walk" (walks with restart in every network, then their
        common axes) or "attention".
    restart
        Chance that a walk returns to its gene at a step.
    attention
        Settings of that method.
    seed
        Of everything drawn.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: IntegrationMethod = "union"
    restart: float = Field(0.15, gt=0, lt=1)
    attention: AttentionConfig = AttentionConfig()
    seed: int = Field(0, ge=0)
