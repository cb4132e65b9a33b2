"""response_mlp as a ResponseModel: a closed-form scaling stage, then one trained by gradient descent."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pertcast.models.batch import Batch, ConditionBatch, ModelSpace, Prediction
from pertcast.models.contract import GradientStage, ResponseModel, Stage
from pertcast.models.layers.scaling import Scaling, ScalingStage
from pertcast.models.noise import KeyedNoise
from pertcast.models.response_mlp.config import ResponseMlpConfig
from pertcast.models.response_mlp.network import ResponseNetwork
from pertcast.models.sampling import gaussian_prediction


class ResponseLoss(nn.Module):
    """Loss of the network on a batch.

    Only the network is a submodule: the scaling holds no parameters and must stay float32 when an engine
    casts this module.
    """

    def __init__(self, network: ResponseNetwork, scaling: Scaling, config: ResponseMlpConfig) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self._outside = (scaling,)

    def forward(self, batch: Batch, noise: KeyedNoise) -> dict[str, Tensor]:
        """Return "loss" = mse + output_shrinkage * shrinkage + sd_weight * nll, and its terms.

        mse is the squared error of standardised targets t and predictions m, shrinkage the mean of m^2,
        nll the mean of log s + (t - m)^2 / (2 s^2) with m held fixed.
        """
        scaling = self._outside[0]
        clip = self.config.target_clip
        target = scaling.standardise(batch.target, batch.conditions).clamp(-clip, clip)
        basal = scaling.standardise_basal(batch.basal)
        mean, log_sd = self.network(batch.conditions, basal, noise, batch.sample_id)
        error = (target - mean).square()
        mse, shrinkage = error.mean(), mean.square().mean()
        nll = (log_sd + 0.5 * error.detach() * torch.exp(-2 * log_sd)).mean()
        loss = mse + self.config.output_shrinkage * shrinkage + self.config.sd_weight * nll
        return {"loss": loss, "mse": mse, "shrinkage": shrinkage, "nll": nll}


class ResponseMlp(ResponseModel):
    """Residual MLP from (basal profile, perturbations, doses, time) to the response and its spread.

    The response is the shrunken mean of context and plate plus a learnt deviation that starts at zero.
    """

    config: ResponseMlpConfig

    def __init__(self, config: ResponseMlpConfig, space: ModelSpace, conditions: ConditionBatch) -> None:
        super().__init__(config, space, conditions)
        self.scaling = Scaling(space)
        self.network = ResponseNetwork(config, space, conditions)

    def stages(self) -> tuple[Stage, ...]:
        """Return "scaling" (closed form), then "response" (gradient descent)."""
        scaling = ScalingStage(self.scaling, self.config.use_context_mean, self.config.use_group_mean)
        response = GradientStage(
            name="response",
            module=ResponseLoss(self.network, self.scaling, self.config),
            optimiser=self.config.optimiser,
            epochs=self.config.epochs,
        )
        return scaling, response

    @torch.no_grad()
    def predict(
        self, conditions: ConditionBatch, basal: Tensor, n_samples: int = 0, noise: KeyedNoise | None = None
    ) -> Prediction:
        """Predict N conditions; see `ResponseModel.predict`."""
        deviation, log_sd = self.network(conditions, self.scaling.standardise_basal(basal))
        mean = self.scaling.centre(conditions) + deviation * self.scaling.target_sd
        sd = self.scaling.target_sd * torch.exp(log_sd)
        return gaussian_prediction(conditions, mean, sd, n_samples, noise)
