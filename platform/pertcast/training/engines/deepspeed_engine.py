"""DeepSpeed ZeRO, stages 0-3 by configuration, on CPU or GPU, on one process or many.

DeepSpeed is imported only when an engine is built. Its engine shards a working copy, so that the model keeps
ordinary tensors at every stage.
"""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pertcast_data.errors import ConfigError
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.modules.batchnorm import _NormBase

from pertcast.models.batch import Batch
from pertcast.models.contract import GradientStage
from pertcast.models.noise import KeyedNoise
from pertcast.training.config import TrainConfig
from pertcast.training.distributed import rank, world_size
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
from pertcast.training.engines.deepspeed_config import deepspeed_config
from pertcast.training.engines.state import (
    Fragment,
    shapes_of,
    share_of,
    stored_state,
    whole_fragments,
    write_state,
)
from pertcast.training.engines.zero_partitions import ShardedAverage, owned_fragments, publish_weights


def _import_deepspeed(*, on_gpu: bool) -> Any:
    if not on_gpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    os.environ.setdefault("LOCAL_RANK", "0")
    import deepspeed
    import deepspeed.ops
    from deepspeed.utils import logger

    logger.setLevel(logging.WARNING)
    # DeepSpeed calls collectives by names that torch has renamed; torch says so at every call.
    warnings.filterwarnings("ignore", message="`torch.distributed.*deprecated", category=FutureWarning)
    if not on_gpu:
        # On CPU, DeepSpeed compiles a shared-memory collective on first use (a minute of g++), which
        # training over gloo does not need. Declaring no compatible op is the only switch; it is private,
        # so DeepSpeed's version is pinned and a test watches that nothing is compiled.
        deepspeed.ops.__dict__["__compatible_ops__"] = {"deepspeed_not_implemented": False}
    return deepspeed


def _join_process_group(deepspeed: Any, *, on_gpu: bool) -> bool:
    """Give DeepSpeed a process group; returns whether one of a single process was opened for it."""
    backend = "nccl" if on_gpu else "gloo"
    opened = not dist.is_initialized()
    if opened:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
    deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False, verbose=False)
    return opened


class DeepSpeedEngine:
    """Trains a sharded copy of `stage.module`; see `Engine` for the methods.

    Parameters
    ----------
    stage
        The stage; its module receives the moving average.
    config
        Training configuration; `config.engine` chooses the ZeRO stage.
    total_steps
        Optimiser steps of the whole stage, which shape the learning rate.
    device
        Where the stage's module lives.

    Raises
    ------
    ConfigError
        When the module has batch normalisation and there are several workers: its running statistics would
        differ between them.
    """

    def __init__(
        self, stage: GradientStage, config: TrainConfig, total_steps: int, device: torch.device
    ) -> None:
        if world_size() > 1 and any(isinstance(part, _NormBase) for part in stage.module.modules()):
            raise ConfigError(
                f"Stage {stage.name!r} normalises over the batch, which DeepSpeed does not keep equal on "
                f"{world_size()} workers; use train.engine.name=torch or one worker."
            )
        on_gpu = device.type == "cuda"
        self._deepspeed = _import_deepspeed(on_gpu=on_gpu)
        self._has_own_group = _join_process_group(self._deepspeed, on_gpu=on_gpu)
        self._averaged = stage.module
        self._working = working_copy(stage, config)
        self._zero_stage = config.engine.zero_stage
        self._optimiser = build_adamw(trained_parameters(self._working), stage.optimiser)
        # Stage 3 puts a function of its own, without forward-mode derivatives, in the place of torch's.
        self._linear = nn.functional.linear
        self._engine, *_ = self._deepspeed.initialize(
            model=self._working,
            optimizer=self._optimiser,
            config=deepspeed_config(config, world_size(), on_gpu=on_gpu),
            dist_init_required=False,
        )
        self._average = self._moving_average(config.ema_decay)
        self._peak_rate = stage.optimiser.lr
        self._rate_factor = warmup_cosine(stage.optimiser, total_steps)
        self._grad_clip = math.inf if config.grad_clip is None else config.grad_clip
        self.learning_rate = 0.0

    def _moving_average(self, decay: float) -> MovingAverage:
        averaged = trained_parameters(self._averaged)
        if self._zero_stage == 3:
            return ShardedAverage(averaged, self._engine.optimizer, self._working, decay)
        return MovingAverage(averaged, trained_parameters(self._working), decay)

    def step(self, micro_batches: Sequence[Batch], noise: KeyedNoise) -> dict[str, Tensor]:
        """Take one optimiser step; see `Engine.step`."""
        self.learning_rate = self._peak_rate * self._rate_factor(self._average.updates)
        set_learning_rate(self._optimiser, self.learning_rate)
        parts, norm = [], None
        for batch in micro_batches:
            losses = self._engine(batch, noise)
            self._engine.backward(losses["loss"])
            if self._zero_stage == 0 and self._engine.is_gradient_accumulation_boundary():
                # DeepSpeed would clip these gradients too, and not tell their norm.
                norm = nn.utils.clip_grad_norm_(trained_parameters(self._working), self._grad_clip)
            self._engine.step()
            parts.append(losses)
        result = mean_losses(parts)
        if self._zero_stage > 0:
            norm = self._engine.get_global_grad_norm()
        result["grad_norm"] = torch.as_tensor(norm, device=result["loss"].device).detach()
        self._average.update()
        return result

    @torch.no_grad()
    def export(self) -> None:
        """Bring the stage's module up to date; at stage 3 the shards are gathered on every rank."""
        copy_buffers(self._working, self._averaged)
        if isinstance(self._average, ShardedAverage):
            self._average.gather()

    def _fragments(self) -> list[Fragment]:
        if self._zero_stage == 0:
            return whole_fragments(self._working)
        return owned_fragments(self._engine.optimizer, self._working, self._zero_stage)

    def save(self, folder: Path) -> None:
        """Write what this rank's optimiser steps on; at stage 0 all ranks hold the same and share it out."""
        fragments = self._fragments()
        if self._zero_stage == 0:
            fragments = share_of(fragments, rank(), world_size())
        write_state(folder, self._optimiser, fragments, shapes_of(self._averaged), self._average.updates)

    def load(self, folder: Path) -> None:
        """Continue from what any engine saved; see `Engine.load`."""
        copy_buffers(self._averaged, self._working)
        with stored_state(folder, shapes_of(self._averaged)) as state:
            state.restore(self._optimiser, self._fragments())
            self._average.updates = state.steps
        if self._zero_stage > 0:
            publish_weights(self._engine.optimizer, self._zero_stage)
        if isinstance(self._average, ShardedAverage):
            self._average.cut()

    def close(self) -> None:
        """Let go of DeepSpeed's hooks and functions, and of the process group, where it was opened here."""
        self._engine.destroy()
        nn.functional.linear = self._linear
        if self._has_own_group:
            self._deepspeed.comm.destroy_process_group()
