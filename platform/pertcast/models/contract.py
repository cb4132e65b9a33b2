"""The contract of every model, baseline or family: stages to train, responses to predict.

Training, tuning, evaluation, screens and serving know a model only through this, never by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from pertcast.models.batch import Batch, ConditionBatch, ModelSpace, Prediction
from pertcast.models.noise import KeyedNoise
from pertcast.models.priors import TrainingPriors


class ModelConfig(BaseModel):
    """Base of the models' configurations: frozen, unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OptimiserConfig(BaseModel):
    """AdamW with linear warm-up and cosine decay.

    Attributes
    ----------
    lr
        Peak learning rate.
    weight_decay
        Decoupled weight decay.
    betas
        Decay rates of the moments.
    warmup_steps
        Steps of linear warm-up from 0.
    final_lr_share
        Learning rate at the last step as a share of the peak.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    warmup_steps: int = Field(50, ge=0)
    final_lr_share: float = Field(0.05, ge=0, le=1)


@dataclass(frozen=True)
class GradientStage:
    """A stage trained by gradient descent.

    Attributes
    ----------
    name
        Stage name, unique in the model.
    module
        Holds exactly the parameters this stage trains. Called as ``module(batch, noise)`` it returns the
        loss terms by name, scalars; "loss" is the one that is minimised. Called through the engine's wrapper
        (never around it), so that gradients are synchronised.
    optimiser
        Optimiser configuration.
    epochs
        Passes over the training rows at most.
    cells_per_condition
        Rows of one condition that stand together in a batch, for losses over populations: batches are then
        whole groups of that many rows, each group of one condition; None: rows in any order.
    is_kept
        Whether a model that starts from trained weights keeps what this stage made: the weights of later
        stages mean nothing without it.
    """

    name: str
    module: nn.Module
    optimiser: OptimiserConfig
    epochs: int
    cells_per_condition: int | None = None
    is_kept: bool = False


class StatisticsStage(ABC):
    """A stage solved in closed form from sums over the training rows.

    Sums are accumulated in float64 on each worker, added up over workers, and handed to `finish`
    on every worker, so the result does not depend on the number of workers.

    Attributes
    ----------
    name
        Stage name, unique in the model.
    is_kept
        Whether a model that starts from trained weights keeps what this stage solved, as for `GradientStage`.
    """

    name: str
    is_kept: ClassVar[bool] = False

    @abstractmethod
    def start(self) -> dict[str, Tensor]:
        """Return zeroed sums by name."""

    @abstractmethod
    def update(self, sums: dict[str, Tensor], batch: Batch) -> None:
        """Add one batch to `sums` in place."""

    @abstractmethod
    def finish(self, sums: Mapping[str, Tensor]) -> None:
        """Solve from the sums of all workers and store the result in the model's buffers."""

    def refit(self, sums: Mapping[str, Tensor], known_genes: Tensor) -> None:
        """Solve as `finish` does in a model that starts from trained weights.

        Parameters
        ----------
        sums
            Sums over all workers.
        known_genes
            (G,) bool, genes that the trained weights know: units in which those are expressed must stay.
        """
        self.finish(sums)

    def filled(self) -> tuple[Tensor, ...]:
        """Return the parameters and buffers that `finish` fills; empty where it cannot be frozen."""
        return ()

    def facts(self) -> dict[str, float]:
        """Return what the solution says that a user should see, by name; asked for after `finish`."""
        return {}


Stage = GradientStage | StatisticsStage


@dataclass(frozen=True)
class StartingPoint:
    """What a model knows before training that starts from trained weights.

    Attributes
    ----------
    known_genes
        (G,) bool, genes that the trained weights know.
    """

    known_genes: Tensor


class ResponseModel(nn.Module, ABC):
    """A model that predicts the response of conditions.

    Every parameter and buffer has its final shape after construction (from `config`, `space` and
    `conditions`), so that a bundle loads strictly.

    Parameters
    ----------
    config
        The model's frozen configuration.
    space
        Facts of the training store.
    conditions
        The C training conditions, in the order of `Batch.condition_index` (without groups: -1).

    Attributes
    ----------
    samples_profiles
        Whether samples follow a learned distribution of single profiles, and not independent normal noise
        around the mean: evaluation then takes them for cells.
    wants_priors
        Whether `take_up` is to be called before training.
    why_from_scratch
        Why the model cannot start from trained weights, as the end of a sentence; None where it can.
    start
        What it starts from where it holds trained weights already; None where its weights are fresh.
    """

    samples_profiles: bool = False
    wants_priors: ClassVar[bool] = False
    why_from_scratch: ClassVar[str | None] = None
    start: StartingPoint | None

    def __init__(self, config: ModelConfig, space: ModelSpace, conditions: ConditionBatch) -> None:
        super().__init__()
        self.config = config
        self.space = space
        self.start = None

    def take_up(self, priors: TrainingPriors) -> None:
        """Take up what is known before training; called on every worker alike, before `stages`.

        A bundle never needs it again: what lasts is kept in buffers of final shape.
        """

    @abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """Return the training stages in order."""

    @abstractmethod
    def predict(
        self, conditions: ConditionBatch, basal: Tensor, n_samples: int = 0, noise: KeyedNoise | None = None
    ) -> Prediction:
        """Predict the response of N conditions.

        Parameters
        ----------
        conditions
            N conditions.
        basal
            (N, G) float32 basal profiles; zero for measure "response".
        n_samples
            K, number of sampled profiles a condition; 0 for none.
        noise
            Source of noise, keyed by `conditions.key`; seed 0 where None.
        """

    def latent(self, conditions: ConditionBatch, basal: Tensor, response: Tensor) -> Tensor | None:
        """Return (N, D) float32 coordinates of N profiles in the latent space; None where there is none.

        Parameters
        ----------
        conditions
            N conditions that the profiles belong to.
        basal
            (N, G) float32 basal profiles; zero for measure "response".
        response
            (N, G) float32 responses, measured or predicted; zero for the control itself.
        """
        return None

    def gene_modules(self) -> Tensor | None:
        """Return (G,) int64 the module of each gene, 0..K-1; None where the model groups no genes."""
        return None


def always_applies(space: ModelSpace) -> bool:
    """Return True: the model makes sense for every training store."""
    return True


@dataclass(frozen=True)
class ModelEntry:
    """One registered model: how to configure and build it, and what it may be called for.

    `applies` tells whether the model makes sense for a training store: additivity needs combined
    perturbations, a plate mean needs plates.
    """

    name: str
    title: str
    config_type: type[ModelConfig]
    model_type: type[ResponseModel]
    is_baseline: bool = False
    applies: Callable[[ModelSpace], bool] = always_applies

    def build(
        self, config: Mapping[str, Any], space: ModelSpace, conditions: ConditionBatch
    ) -> ResponseModel:
        """Build the model from a plain mapping of its configuration."""
        return self.model_type(self.config_type.model_validate(dict(config)), space, conditions)
