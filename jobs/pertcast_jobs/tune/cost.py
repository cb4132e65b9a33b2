"""What a training costs, as a number that depends neither on the machine nor on interruptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from pertcast.encoding import ConditionEncoder
from pertcast.models.contract import GradientStage, ResponseModel
from pertcast.models.noise import KeyedNoise
from pertcast.training.data import TrainingData
from pertcast.training.flops import flops_of_row

from pertcast_jobs.run_config import RunConfig
from pertcast_jobs.train.prepare import open_training_data

_PER_PARAMETER: Final = 6
"""Operations a parameter and row of a dense network, forward and backward (Kaplan et al. 2020)."""


@dataclass(frozen=True)
class TrainingCost:
    """Floating-point operations of a training.

    Attributes
    ----------
    flops
        Forward and backward passes over all rows trained on; validation and closed-form stages not counted.
    is_counted
        Whether every stage was counted; else all are 6 x parameters x rows.
    """

    flops: float
    is_counted: bool


def training_cost(
    model: ResponseModel, encoder: ConditionEncoder, config: RunConfig, result: Mapping[str, Any]
) -> TrainingCost:
    """Return what it cost to train `model`.

    Parameters
    ----------
    model
        The trained model, on the CPU.
    encoder
        Its encoder.
    config
        The run's: one step's rows of each stage are read, as one batch however many workers shared them.
    result
        Of the training, `FitResult` as plain JSON: how many steps each stage took.
    """
    steps = {stage["name"]: int(stage["steps"]) for stage in result["stages"]}
    whole_steps = config.train.model_copy(update={"accumulate": 1})
    data = open_training_data(config.model_copy(update={"train": whole_steps}), encoder)
    counted, by_parameters = 0.0, 0.0
    is_counted = True
    for stage in model.stages():
        if not isinstance(stage, GradientStage) or not steps.get(stage.name):
            continue
        rows = steps[stage.name] * config.train.batch_size
        parameters = sum(each.numel() for each in stage.module.parameters())
        by_parameters += _PER_PARAMETER * parameters * rows
        a_row = _flops_of_row(stage, data, config)
        is_counted = is_counted and bool(a_row)
        counted += (a_row or 0.0) * rows
    return TrainingCost(counted if is_counted else by_parameters, is_counted)


def _flops_of_row(stage: GradientStage, data: TrainingData, config: RunConfig) -> float | None:
    batch = next(iter(data.of_stage(stage).train.batches(0)))
    noise = KeyedNoise(config.train.seed)
    return flops_of_row(stage.module, batch, noise, config.train.precision, torch.device("cpu"))
