"""Every model by name: baselines and trained families, in one immutable mapping."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pertcast_data.errors import ConfigError, nearest_known

from pertcast.models.baselines.base import BaselineConfig
from pertcast.models.baselines.means import ContextMean, GroupMean, NoChange, TrainMean
from pertcast.models.batch import ModelSpace
from pertcast.models.contract import ModelEntry


def _has_several_contexts(space: ModelSpace) -> bool:
    return len(space.contexts) > 1


def _has_groups(space: ModelSpace) -> bool:
    return bool(space.groups)


_ENTRIES = (
    ModelEntry("no_change", "No change", BaselineConfig, NoChange, is_baseline=True),
    ModelEntry("train_mean", "Mean training response", BaselineConfig, TrainMean, is_baseline=True),
    ModelEntry(
        "context_mean",
        "Mean training response of the context",
        BaselineConfig,
        ContextMean,
        is_baseline=True,
        applies=_has_several_contexts,
    ),
    ModelEntry(
        "group_mean",
        "Mean training response of the plate or batch",
        BaselineConfig,
        GroupMean,
        is_baseline=True,
        applies=_has_groups,
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
