"""What the training loop asks of an engine, and what the engines share.

An engine trains a working copy of a stage's module; the module itself always carries the moving average of
the weights, so the model can be validated, saved and exported at any step without swapping anything.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from pertcast.models.batch import Batch
from pertcast.models.contract import GradientStage, OptimiserConfig
from pertcast.models.layers.recomputable import recompute_blocks
from pertcast.models.noise import KeyedNoise
from pertcast.training.config import TrainConfig
from pertcast.training.engines.compiling import compile_stage

log = logging.getLogger(__name__)


class Engine(Protocol):
    """Takes optimiser steps on one gradient stage. All methods are called on every rank together."""

    @property
    def learning_rate(self) -> float:
        """Rate of the last step."""
        ...

    def step(self, micro_batches: Sequence[Batch], noise: KeyedNoise) -> dict[str, Tensor]:
        """Take one optimiser step.

        Returns
        -------
        dict
            Each loss term of this rank, detached, averaged over the micro-batches; with "grad_norm" (before
            clipping) where the gradient is clipped.
        """
        ...

    def export(self) -> None:
        """Bring the stage's module up to date: averaged weights, current buffers."""
        ...

    def save(self, folder: Path) -> None:
        """Write this rank's share of the engine's state into `folder`, an empty one or its siblings' too.

        Any engine can load it, at any ZeRO stage, on any number of ranks. Averaged weights and buffers are
        not in it: they go with the stage's module, after `export`.
        """
        ...

    def load(self, folder: Path) -> None:
        """Continue from what `save` wrote on all ranks; the stage's module has been restored before.

        Raises
        ------
        CorruptBundle
            A part is missing or damaged.
        """
        ...

    def close(self) -> None:
        """Let go of memory and process groups that the engine opened."""
        ...


def warmup_cosine(config: OptimiserConfig, total_steps: int) -> Callable[[int], float]:
    """Return the learning rate's factor as a function of the step (from 0).

    Linear warm-up, at most a fifth of all steps, then half a cosine down to `final_lr_share` at the last.
    """
    warmup = min(config.warmup_steps, total_steps // 5)
    decaying = max(1, total_steps - 1 - warmup)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        done = min(1.0, (step - warmup) / decaying)
        share = config.final_lr_share
        return share + (1 - share) * 0.5 * (1 + math.cos(math.pi * done))

    return factor


def build_adamw(parameters: list[nn.Parameter], config: OptimiserConfig) -> AdamW:
    """Return AdamW as the stage asks for it."""
    return AdamW(parameters, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True)


def set_learning_rate(optimiser: AdamW, rate: float) -> None:
    """Let the next step be taken at a rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def trained_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that ask for a gradient, in the module's order."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def working_copy(stage: GradientStage, config: TrainConfig) -> nn.Module:
    """Return the copy of a stage's module that is trained; recomputed, compiled where that is asked for."""
    module = copy.deepcopy(stage.module).train()
    if config.activation_checkpointing and recompute_blocks(module) == 0:
        log.warning(
            "stage %s has no blocks to recompute: train.activation_checkpointing saves nothing there",
            stage.name,
        )
    if config.compile:
        compile_stage(module)
    return module


@torch.no_grad()
def copy_buffers(source: nn.Module, target: nn.Module) -> None:
    """Copy the values of all buffers between two copies of one module."""
    for theirs, ours in zip(source.buffers(), target.buffers(), strict=True):
        ours.copy_(theirs)


def mean_losses(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return each loss term, detached, averaged over the micro-batches."""
    if len(parts) == 1:
        return {name: value.detach() for name, value in parts[0].items()}
    return {name: torch.stack([part[name].detach() for part in parts]).mean(dim=0) for name in parts[0]}
