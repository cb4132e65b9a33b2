"""Engines: what takes an optimiser step. Choosing one is configuration, never code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch

from pertcast.models.contract import GradientStage
from pertcast.training.config import TrainConfig
from pertcast.training.engines.base import Engine
from pertcast.training.engines.deepspeed_engine import DeepSpeedEngine
from pertcast.training.engines.torch_engine import TorchEngine

EngineFactory = Callable[[GradientStage, TrainConfig, int, torch.device], Engine]
"""(stage, configuration, optimiser steps of the whole stage, device) -> engine."""

ENGINES: Mapping[str, EngineFactory] = MappingProxyType({"torch": TorchEngine, "deepspeed": DeepSpeedEngine})


def build_engine(stage: GradientStage, config: TrainConfig, total_steps: int, device: torch.device) -> Engine:
    """Build the engine that the configuration names."""
    return ENGINES[config.engine.name](stage, config, total_steps, device)


__all__ = ["ENGINES", "Engine", "EngineFactory", "build_engine"]
