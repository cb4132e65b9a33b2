"""What all baselines share: one closed-form stage, a per-gene residual sd, normal samples."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from pertcast.models.baselines.statistics import ConditionMeansStage, ConditionStatistics
from pertcast.models.batch import ConditionBatch, ModelSpace, Prediction
from pertcast.models.contract import ModelConfig, ResponseModel, Stage
from pertcast.models.noise import KeyedNoise
from pertcast.models.sampling import gaussian_prediction


class BaselineConfig(ModelConfig):
    """Configuration of a baseline without settings."""


class Baseline(ResponseModel):
    """A model solved in closed form from the sums of `ConditionMeansStage`.

    Buffers are float32; the solving is float64. `sd` (G,) is the sd of training rows around the
    baseline's own prediction of their condition (left-out prediction where the baseline has one).
    """

    why_from_scratch: ClassVar[str | None] = (
        "it is solved from its training rows alone, so that nothing of the bundle would be left. Train it "
        "from scratch"
    )
    sd: Tensor

    def __init__(self, config: ModelConfig, space: ModelSpace, conditions: ConditionBatch) -> None:
        super().__init__(config, space, conditions)
        self.training_conditions = conditions
        self.add_buffer("sd", space.n_genes)

    def add_buffer(self, name: str, *shape: int) -> None:
        """Register a zeroed float32 buffer of its final shape."""
        self.register_buffer(name, torch.zeros(shape))

    def store(self, name: str, values: Tensor) -> None:
        """Copy solved values into a buffer, keeping its shape, dtype and device."""
        buffer = self.get_buffer(name)
        if buffer.shape != values.shape:
            raise ValueError(f"buffer {name!r} has shape {tuple(buffer.shape)}, got {tuple(values.shape)}")
        buffer.copy_(values)

    def stages(self) -> tuple[Stage, ...]:
        """Return the one closed-form stage."""
        return (ConditionMeansStage(self.space, self.solve),)

    @abstractmethod
    def solve(self, statistics: ConditionStatistics) -> None:
        """Fill the buffers from the sums."""

    @abstractmethod
    def mean(self, conditions: ConditionBatch) -> Tensor:
        """Return the (N, G) float32 mean response of N conditions."""

    @torch.no_grad()
    def predict(
        self, conditions: ConditionBatch, basal: Tensor, n_samples: int = 0, noise: KeyedNoise | None = None
    ) -> Prediction:
        """Predict N conditions; see `ResponseModel.predict`. The basal profile is not used."""
        mean = self.mean(conditions)
        return gaussian_prediction(conditions, mean, self.sd.expand_as(mean), n_samples, noise)


class LeaveOutBaseline(Baseline):
    """A baseline that can predict a training condition without having seen it.

    Its sd is measured around those left-out predictions, so that it is not flattered by its own memory.
    """

    @abstractmethod
    def left_out_mean(self, index: Tensor) -> Tensor:
        """Return the (M, G) prediction of the training conditions `index`, each without itself."""

    def store_left_out_sd(self, statistics: ConditionStatistics, chunk: int = 512) -> None:
        """Measure `sd` around the left-out predictions, `chunk` conditions at a time."""
        index = torch.arange(self.space.n_conditions, device=self.sd.device)
        predicted = [self.left_out_mean(part) for part in torch.split(index, chunk)]
        self.store("sd", statistics.residual_sd(torch.cat(predicted)))


class ContextBaseline(Baseline):
    """A baseline that starts from the mean of the context, or the train mean for an unseen one."""

    context_means: Tensor

    def __init__(self, config: ModelConfig, space: ModelSpace, conditions: ConditionBatch) -> None:
        super().__init__(config, space, conditions)
        self.add_buffer("context_means", len(space.contexts) + 1, space.n_genes)

    def solve_context_means(self, statistics: ConditionStatistics) -> Tensor:
        """Store the context means; return them by training condition, (C, G) float64."""
        context = self.training_conditions.context
        means = statistics.context_means(context, len(self.space.contexts))
        self.store("context_means", means)
        return means[self.context_row(context).to(means.device)]

    def context_row(self, context: Tensor) -> Tensor:
        """Return the row of `context_means` of each context; the last for an unseen one."""
        return torch.where(context < 0, len(self.space.contexts), context)

    def context_mean(self, conditions: ConditionBatch) -> Tensor:
        """Return the (N, G) mean response in each condition's context."""
        return self.context_means[self.context_row(conditions.context)]
