"""Configuration of module_flow: grouping, autoencoder, displacement, flow, alignment."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pertcast.models.contract import ModelConfig, OptimiserConfig
from pertcast.models.module_flow.autoencoder_config import GeneAutoencoderConfig
from pertcast.models.module_flow.displacement.config import DisplacementConfig
from pertcast.models.module_flow.grouping.config import GroupingConfig


class ConditionSetConfig(ModelConfig):
    """How a set of perturbations is told to the flow.

    Attributes
    ----------
    width
        Width of tokens and of the condition's vector.
    heads
        Heads of the attention that pools a set.
    dose_frequencies
        Sine and cosine pairs that describe log dose and log time.
    basal_width
        Width that the basal profile is squeezed to; 0: it is not looked at.
    hidden_share
        Share of training groups whose perturbations are hidden from the flow (the null token stands alone).
    """

    width: int = Field(128, ge=8)
    heads: int = Field(8, ge=1)
    dose_frequencies: int = Field(3, ge=0)
    basal_width: int = Field(32, ge=0)
    hidden_share: float = Field(0.2, ge=0, lt=1)

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> ConditionSetConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        return self


class FlowConfig(ModelConfig):
    """The velocity network and how it is trained.

    Attributes
    ----------
    width, depth, expansion
        Of the residual blocks.
    cells_per_condition
        Cells of one condition side by side in a batch; paired with as many controls.
    pairing
        "transport": entropic optimal transport between the two; "independent": none (ablation).
    epsilon
        Entropic regularisation in units of the mean cost.
    path_noise
        Sd of the noise around the straight path, in units of the latents' sd.
    moves_mean
        Whether the flow may move the mean of a population away from the closed-form displacement. It then
        also learns what training conditions have of their own; without it shapes populations only.
    optimiser, epochs
        How the network is trained.
    """

    width: int = Field(256, ge=8)
    depth: int = Field(2, ge=1)
    expansion: int = Field(2, ge=1)
    cells_per_condition: int = Field(32, ge=2)
    pairing: Literal["transport", "independent"] = "transport"
    epsilon: float = Field(0.05, gt=0)
    path_noise: float = Field(0.1, ge=0)
    moves_mean: bool = False
    optimiser: OptimiserConfig = OptimiserConfig(lr=3e-4, weight_decay=0.01)
    epochs: int = Field(30, ge=1)


class AlignmentConfig(ModelConfig):
    """Losses over decoded populations, which are back-propagated through the integration.

    Attributes
    ----------
    correlation_weight
        Weight of the distance between correlations of module means; 0 switches it off.
    pathway_weight
        Weight of the transport distance between pathway scores (of modules where no gene sets are given).
    every
        Optimiser steps from one to the next, each counted as often: their mean is what is minimised.
    conditions
        Conditions of a batch that are integrated each time.
    steps
        Midpoint steps of that integration.
    """

    correlation_weight: float = Field(0.1, ge=0)
    pathway_weight: float = Field(0.1, ge=0)
    every: int = Field(100, ge=1)
    conditions: int = Field(1, ge=1)
    steps: int = Field(4, ge=1)


class IntegratorConfig(ModelConfig):
    """How trajectories are followed in prediction.

    Attributes
    ----------
    kind
        "midpoint", "rk4", "euler": fixed steps; "adaptive": Dormand-Prince with error control.
    steps
        Number of fixed steps.
    tolerance
        Relative and absolute tolerance of the adaptive one.
    cells
        Control cells that are followed for a mean.
    """

    kind: Literal["midpoint", "rk4", "euler", "adaptive"] = "midpoint"
    steps: int = Field(10, ge=1)
    tolerance: float = Field(1e-5, gt=0)
    cells: int = Field(32, ge=1)


class ModuleFlowConfig(ModelConfig):
    """Configuration of module_flow.

    Attributes
    ----------
    grouping
        Gene modules.
    autoencoder
        Latent space.
    displacement
        Closed-form mean of every set of perturbations, around which the flow learns.
    condition
        What the flow is told.
    flow, alignment, integrator
        The flow, its losses over populations, its prediction.
    control_cells
        Training controls of each context that a model keeps to start from, at most.
    target_clip
        Standardised responses are clipped to plus or minus this for the latent space.
    """

    grouping: GroupingConfig = GroupingConfig()
    autoencoder: GeneAutoencoderConfig = GeneAutoencoderConfig()
    displacement: DisplacementConfig = DisplacementConfig()
    condition: ConditionSetConfig = ConditionSetConfig()
    flow: FlowConfig = FlowConfig()
    alignment: AlignmentConfig = AlignmentConfig()
    integrator: IntegratorConfig = IntegratorConfig()
    control_cells: int = Field(256, ge=2)
    target_clip: float = Field(10.0, gt=0)
