"""Every model by name: baselines and trained families, in one immutable mapping."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from pertcast_data.errors import ConfigError, nearest_known

from pertcast.models.baselines.base import BaselineConfig
from pertcast.models.baselines.matching import MatchingMean
from pertcast.models.baselines.means import ContextMean, GroupMean, NoChange, TrainMean, TypeMean
from pertcast.models.baselines.measured import Additive, TransferredMean
from pertcast.models.baselines.neighbours import Neighbours, NeighboursConfig
from pertcast.models.baselines.own_gene import OwnGene
from pertcast.models.baselines.ridge import BilinearRidge, FingerprintRidge, RidgeConfig
from pertcast.models.baselines.transferred_types import TransferConfig, TransferredTypes
from pertcast.models.baselines.type_ridge import RidgeOwnGene, TypeRidge
from pertcast.models.batch import ModelSpace
from pertcast.models.contract import ModelConfig, ModelEntry, ResponseModel, always_applies
from pertcast.models.latent_diffusion.config import LatentDiffusionConfig
from pertcast.models.latent_diffusion.model import LatentDiffusion
from pertcast.models.module_flow.config import ModuleFlowConfig
from pertcast.models.module_flow.model import ModuleFlow
from pertcast.models.multiplex_network.config import MultiplexNetworkConfig
from pertcast.models.multiplex_network.model import MultiplexNetwork
from pertcast.models.multiplex_network.reference.config import TranscriptionNetConfig
from pertcast.models.multiplex_network.reference.model import TranscriptionNet
from pertcast.models.response_mlp.config import ResponseMlpConfig
from pertcast.models.response_mlp.model import ResponseMlp


def _has_several_contexts(space: ModelSpace) -> bool:
    return len(space.contexts) > 1


def _has_groups(space: ModelSpace) -> bool:
    return bool(space.groups)


def _has_combinations(space: ModelSpace) -> bool:
    return space.max_slots > 1


def _has_features(space: ModelSpace) -> bool:
    return space.feature_width > 0


def _has_own_genes(space: ModelSpace) -> bool:
    return space.own_genes


def _has_several_types(space: ModelSpace) -> bool:
    return len(space.pert_types) > 1


def _has_types_and_features(space: ModelSpace) -> bool:
    return _has_several_types(space) and _has_features(space)


def _has_own_genes_and_features(space: ModelSpace) -> bool:
    return _has_own_genes(space) and _has_features(space)


def _has_compounds(space: ModelSpace) -> bool:
    return "trt_cp" in space.pert_types and space.feature_width > 0


def _baseline(
    name: str,
    title: str,
    model_type: type[ResponseModel],
    applies: Callable[[ModelSpace], bool] = always_applies,
    config_type: type[ModelConfig] = BaselineConfig,
) -> ModelEntry:
    return ModelEntry(name, title, config_type, model_type, is_baseline=True, applies=applies)


_ENTRIES = (
    _baseline("no_change", "No change", NoChange),
    _baseline("train_mean", "Mean training response", TrainMean),
    _baseline("context_mean", "Mean response of the context", ContextMean, _has_several_contexts),
    _baseline("type_mean", "Mean response of the perturbation type", TypeMean, _has_several_types),
    _baseline("group_mean", "Mean response of the plate or batch", GroupMean, _has_groups),
    _baseline("additive", "Sum of the measured singles", Additive, _has_combinations),
    _baseline("matching_mean", "Mean of what shares a perturbation", MatchingMean, _has_combinations),
    _baseline(
        "transferred_mean", "Same perturbation in other contexts", TransferredMean, _has_several_contexts
    ),
    _baseline("bilinear_ridge", "Ridge, components x features", BilinearRidge, _has_features, RidgeConfig),
    _baseline(
        "type_ridge", "Ridge of each perturbation type", TypeRidge, _has_types_and_features, RidgeConfig
    ),
    _baseline("knn", "Nearest training perturbations", Neighbours, _has_features, NeighboursConfig),
    _baseline("fingerprint_ridge", "Ridge, structure x dose", FingerprintRidge, _has_compounds, RidgeConfig),
    _baseline("own_gene", "Mean and own-gene effect", OwnGene, _has_own_genes),
    _baseline(
        "ridge_own_gene", "Ridge and own-gene effect", RidgeOwnGene, _has_own_genes_and_features, RidgeConfig
    ),
    _baseline(
        "transferred_types",
        "Same gene by another type of perturbation",
        TransferredTypes,
        _has_several_types,
        TransferConfig,
    ),
    ModelEntry("response_mlp", "Residual MLP", ResponseMlpConfig, ResponseMlp),
    ModelEntry("latent_diffusion", "Latent diffusion", LatentDiffusionConfig, LatentDiffusion),
    ModelEntry("module_flow", "Module flow", ModuleFlowConfig, ModuleFlow),
    ModelEntry("multiplex_network", "Multiplex network", MultiplexNetworkConfig, MultiplexNetwork),
    ModelEntry(
        "transcription_net",
        "TranscriptionNet recipe, corrected",
        TranscriptionNetConfig,
        TranscriptionNet,
        applies=_has_features,
    ),
)

MODELS: Final[Mapping[str, ModelEntry]] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
"""Name -> entry, baselines first."""


def get_model(name: str) -> ModelEntry:
    """Return the entry of a model; raises ConfigError naming the nearest known models."""
    entry = MODELS.get(name)
    if entry is None:
        nearest = nearest_known(name, MODELS) or list(MODELS)
        raise ConfigError(f"Unknown model {name!r}. Did you mean: {', '.join(nearest)}?")
    return entry


def baselines_for(space: ModelSpace) -> tuple[ModelEntry, ...]:
    """Return the baselines that make sense for a training store, in registry order."""
    return tuple(entry for entry in MODELS.values() if entry.is_baseline and entry.applies(space))
