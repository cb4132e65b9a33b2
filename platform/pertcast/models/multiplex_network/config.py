"""Configuration of multiplex_network."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from pertcast.models.contract import ModelConfig, OptimiserConfig


class ProcessConfig(BaseModel):
    """The Gaussian process over genes and types (closed form).

    Attributes
    ----------
    n_components
        Leading components of the training responses that are predicted, at most.
    tuned_conditions
        Conditions, at most, that the covariance is chosen on; whole genes of them, drawn by the seed.
    tuning_steps
        Steps of L-BFGS, at most.
    solved_conditions
        Conditions, at most, that the process is solved on: time grows with their cube (16,000 take minutes).
        Where training has more, those of most profiles are kept.
    spread_conditions
        Conditions, at most, that tell how sure a prediction is.
    seed
        Of the draws of conditions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_components: int = Field(128, ge=1)
    tuned_conditions: int = Field(600, ge=2)
    tuning_steps: int = Field(50, ge=1)
    solved_conditions: int = Field(16_000, ge=2)
    spread_conditions: int = Field(512, ge=1)
    seed: int = Field(0, ge=0)


class CrossTypeConfig(BaseModel):
    """Attention over the types of one gene, on top of the process.

    Attributes
    ----------
    n_components
        Leading components that a token holds, at most.
    width, heads, layers
        Of the attention.
    rounds
        Times that the same layers are applied, each to the last one's refined prediction.
    dropout
        Share of hidden units that is left out in training.
    hidden_share
        Share of the measured profiles of other types that is hidden in training.
    shrinkage
        Weight of the squared refinement in the loss: what is not clearly better stays as it was.
    epochs
        Passes over the training rows at most; 0: no attention.
    optimiser
        Of its parameters.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_components: int = Field(32, ge=1)
    width: int = Field(64, ge=4)
    heads: int = Field(4, ge=1)
    layers: int = Field(1, ge=1)
    rounds: int = Field(2, ge=1)
    dropout: float = Field(0.2, ge=0, lt=1)
    hidden_share: float = Field(0.2, ge=0, lt=1)
    shrinkage: float = Field(0.1, ge=0)
    epochs: int = Field(30, ge=0)
    optimiser: OptimiserConfig = OptimiserConfig(lr=5e-4, weight_decay=1e-2, warmup_steps=20)


class MultiplexNetworkConfig(ModelConfig):
    """Configuration of multiplex_network (docs/multiplex_network.md).

    Attributes
    ----------
    own_gene
        Whether the perturbed gene's own transcript is told by its type alone, apart from all else.
    cross_type
        Whether types of perturbation tell of each other; without, each is learnt by itself.
    process
        The process over genes and types.
    attention
        Its refinement by what other types of the same gene measured.
    """

    own_gene: bool = True
    cross_type: bool = True
    process: ProcessConfig = ProcessConfig()
    attention: CrossTypeConfig = CrossTypeConfig()
