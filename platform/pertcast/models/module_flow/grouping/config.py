"""What decides how genes are grouped into modules."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pertcast.models.contract import ModelConfig


class GroupingConfig(ModelConfig):
    """Gene-relation clustering.

    Attributes
    ----------
    n_modules
        K, number of modules; fewer where there are fewer genes.
    refinements
        Rounds of transport after the first labels, at most: they end when no gene moves.
    epsilon
        Entropic regularisation of the transport, in units of the cost; the semantic term lies in
        [0, 2], the others in [0, 1].
    semantic_weight
        Weight of the distance of embeddings to a module's axis; 0 switches the term off.
    network_weight
        Weight of the share of a gene's connections that leave a module; 0 switches the term off.
    coexpression_weight
        Weight of the distance to a module's profile over training controls; 0 switches the term off.
    sizes
        "balanced": sizes differ by at most one gene, as published. "adaptive": sizes follow the data; it
        recovers planted modules of unequal size better (docs/module_flow.md).
    seed
        Seed of the first labels.
    """

    n_modules: int = Field(32, ge=1)
    refinements: int = Field(6, ge=0)
    epsilon: float = Field(0.1, gt=0)
    semantic_weight: float = Field(1.0, ge=0)
    network_weight: float = Field(1.0, ge=0)
    coexpression_weight: float = Field(1.0, ge=0)
    sizes: Literal["balanced", "adaptive"] = "adaptive"
    seed: int = Field(0, ge=0)
