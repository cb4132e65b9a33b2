"""transcription_net as a ResponseModel: units, FunDNN out of fold, spread, GenSAN."""

from __future__ import annotations

from typing import ClassVar

import torch
from pertcast_data.errors import ConfigError
from torch import Tensor

from pertcast.models.batch import ConditionBatch, ModelSpace, Prediction
from pertcast.models.contract import GradientStage, ResponseModel, Stage
from pertcast.models.multiplex_network.reference.condition_types import condition_type, is_control
from pertcast.models.multiplex_network.reference.config import TranscriptionNetConfig
from pertcast.models.multiplex_network.reference.cross_type import MeasuredProfiles
from pertcast.models.multiplex_network.reference.fundnn import FunDnnMembers
from pertcast.models.multiplex_network.reference.gensan import GenSan
from pertcast.models.multiplex_network.reference.losses import FunDnnLoss, GenSanLoss, joined_tokens
from pertcast.models.multiplex_network.reference.scaling import FeatureScaling, ProfilesStage, TypeScaling
from pertcast.models.multiplex_network.reference.spread import SpreadStage
from pertcast.models.noise import KeyedNoise
from pertcast.models.sampling import gaussian_prediction


class TranscriptionNet(ResponseModel):
    """The published two-stage recipe, corrected: a reference to compare with, not the model to use.

    As published: one FunDNN a perturbation type; GenSAN over one token a type; both losses. Corrected: every
    type is trained on its own rows; inputs and targets are standardised by training data alone; the second
    stage is trained on out-of-fold predictions of the first, on measured profiles of other types only where
    training holds them. Optimiser and early stopping are the house's.

    It reads features and types alone: not the basal profile, dose or time, and the context only to find what
    other types measured there. A type that training lacked, or a mix of types, gets the mean over types of
    the first stage; a control has no response.

    Raises
    ------
    ConfigError
        Where the perturbations have no features or the training conditions no type.
    """

    config: TranscriptionNetConfig
    why_from_scratch: ClassVar[str | None] = (
        "its second stage learns from what its first says of genes it has not seen, and the bundle's has "
        "seen them. Train it on one store that holds both data sets"
    )
    sd: Tensor

    def __init__(self, config: TranscriptionNetConfig, space: ModelSpace, conditions: ConditionBatch) -> None:
        super().__init__(config, space, conditions)
        types = len(space.pert_types)
        if space.feature_width == 0 or types == 0:
            raise ConfigError(
                f"transcription_net reads features by perturbation type, and this store has "
                f"{space.feature_width} features and {types} types; give it gene or compound features "
                "(encoder.*), or train a model that needs none."
            )
        self.training_conditions = conditions
        self.features = FeatureScaling(conditions)
        self.scaling = TypeScaling(space)
        self.members = FunDnnMembers(config.fundnn, config.folds, space, conditions)
        is_refined = config.cross_type and types > 1
        self.profiles = MeasuredProfiles(space, conditions) if is_refined else None
        self.gensan = GenSan(space.n_genes, types, config.gensan) if is_refined else None
        self.register_buffer("sd", torch.ones(types + 1, space.n_genes))

    def stages(self) -> tuple[Stage, ...]:
        """Return "profiles", "fundnn", "spread" (first and third closed form), "gensan" if there is one."""
        config, units = self.config, (self.features, self.scaling)
        quantile = config.limit_quantile
        first = FunDnnLoss(self.members, *units, config.mse_weight)
        stages: tuple[Stage, ...] = (
            ProfilesStage(self.scaling, self.profiles, self.training_conditions, quantile),
            GradientStage("fundnn", first, config.fundnn.optimiser, config.fundnn.epochs),
            SpreadStage(self.sd, self.members, *units),
        )
        if self.gensan is None or self.profiles is None:
            return stages
        parts = (self.gensan, self.members, self.profiles, *units)
        second = GenSanLoss(*parts, config.mse_weight, config.gensan.hidden_share)
        return (*stages, GradientStage("gensan", second, config.gensan.optimiser, config.gensan.epochs))

    @torch.no_grad()
    def predict(
        self, conditions: ConditionBatch, basal: Tensor, n_samples: int = 0, noise: KeyedNoise | None = None
    ) -> Prediction:
        """Predict N conditions; see `ResponseModel.predict`. The basal profile is not used."""
        kind = condition_type(conditions, len(self.space.pert_types))
        predicted = self._first_stage(conditions)
        own = predicted[torch.arange(len(kind), device=kind.device), kind]
        if self.gensan is not None and self.profiles is not None:
            measured, is_measured = self.profiles(conditions, kind)
            tokens = joined_tokens(predicted, measured, is_measured)
            own = (own + self.gensan(tokens, is_measured, kind)).clamp(-1, 1)
        mean = self.scaling.unscale(own, kind) * ~is_control(conditions).unsqueeze(1)
        return gaussian_prediction(conditions, mean, self.sd[kind], n_samples, noise)

    def _first_stage(self, conditions: ConditionBatch) -> Tensor:
        """Return (N, T + 1, G) of the first stage, through the smaller of feature table and conditions.

        A screen of every gene by every type names each gene T times, and each is computed once.
        """
        is_table_smaller = conditions.features.shape[0] < len(conditions)
        if conditions.slot.shape[1] == 1 and is_table_smaller:
            found: Tensor = self.members(self.features(conditions.features))
            return found[conditions.slot[:, 0].clamp(min=0)]
        summed: Tensor = self.members(self.features.summed(conditions))
        return summed
