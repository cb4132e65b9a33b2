"""Plain PyTorch: AdamW on one process, DistributedDataParallel on several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parallel import DistributedDataParallel

from pertcast.models.batch import Batch
from pertcast.models.contract import GradientStage
from pertcast.models.noise import KeyedNoise
from pertcast.training.config import TrainConfig
from pertcast.training.distributed import is_distributed, rank, world_size
from pertcast.training.ema import MovingAverage
from pertcast.training.engines.base import (
    build_adamw,
    copy_buffers,
    mean_losses,
    set_learning_rate,
    trained_parameters,
    warmup_cosine,
    working_copy,
)
from pertcast.training.engines.state import shapes_of, share_of, stored_state, whole_fragments, write_state


def _distributed(module: nn.Module, device: torch.device) -> DistributedDataParallel:
    # Running statistics follow rank 0, so that a checkpoint written there restores every rank; constant
    # tables in buffers are not sent around at each step.
    has_running_statistics = any(isinstance(part, _NormBase) for part in module.modules())
    return DistributedDataParallel(
        module,
        device_ids=[device] if device.type == "cuda" else None,
        broadcast_buffers=has_running_statistics,
        gradient_as_bucket_view=True,
    )


class TorchEngine:
    """Trains a copy of `stage.module`; see `Engine` for the methods.

    Parameters
    ----------
    stage
        The stage; its module receives the moving average.
    config
        Training configuration.
    total_steps
        Optimiser steps of the whole stage, which shape the learning rate.
    device
        Where the stage's module lives.
    """

    def __init__(
        self, stage: GradientStage, config: TrainConfig, total_steps: int, device: torch.device
    ) -> None:
        self._averaged = stage.module
        self._working = working_copy(stage, config)
        self._parameters = trained_parameters(self._working)
        self._called: nn.Module = _distributed(self._working, device) if is_distributed() else self._working
        self._optimiser = build_adamw(self._parameters, stage.optimiser)
        self._peak_rate = stage.optimiser.lr
        self._rate_factor = warmup_cosine(stage.optimiser, total_steps)
        self._average = MovingAverage(trained_parameters(self._averaged), self._parameters, config.ema_decay)
        self._grad_clip = math.inf if config.grad_clip is None else config.grad_clip
        self._device_type = device.type
        self._is_mixed = config.precision == "bf16"
        self.learning_rate = 0.0

    def step(self, micro_batches: Sequence[Batch], noise: KeyedNoise) -> dict[str, Tensor]:
        """Take one optimiser step; see `Engine.step`."""
        parts = []
        for index, batch in enumerate(micro_batches):
            with self._gradient_sync(is_last=index == len(micro_batches) - 1):
                with torch.autocast(self._device_type, dtype=torch.bfloat16, enabled=self._is_mixed):
                    losses = self._called(batch, noise)
                loss = losses["loss"] / len(micro_batches) if len(micro_batches) > 1 else losses["loss"]
                loss.backward()
            parts.append(losses)
        result = mean_losses(parts)
        result["grad_norm"] = nn.utils.clip_grad_norm_(self._parameters, self._grad_clip)
        self.learning_rate = self._peak_rate * self._rate_factor(self._average.updates)
        set_learning_rate(self._optimiser, self.learning_rate)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        self._average.update()
        return result

    def _gradient_sync(self, *, is_last: bool) -> AbstractContextManager[None]:
        if is_last or not isinstance(self._called, DistributedDataParallel):
            return nullcontext()
        return self._called.no_sync()

    @torch.no_grad()
    def export(self) -> None:
        """Bring the stage's module up to date: its weights already are the average."""
        copy_buffers(self._working, self._averaged)

    def save(self, folder: Path) -> None:
        """Write this rank's share of weights and moments; all ranks hold the same."""
        fragments = share_of(whole_fragments(self._working), rank(), world_size())
        shapes = shapes_of(self._averaged)
        write_state(folder, self._optimiser, fragments, shapes, self._average.updates)

    def load(self, folder: Path) -> None:
        """Continue from what any engine saved; see `Engine.load`."""
        copy_buffers(self._averaged, self._working)
        with stored_state(folder, shapes_of(self._averaged)) as state:
            state.restore(self._optimiser, whole_fragments(self._working))
            self._average.updates = state.steps

    def close(self) -> None:
        """Nothing to let go of: no process group was opened."""
