"""DeepSpeed ZeRO, stages 0-3 by configuration, on CPU or GPU, on one process or many.

DeepSpeed is imported only when an engine is built. Its engine shards a working copy, so that the model keeps
ordinary tensors at every stage.
"""

from __future__ import annotations

import copy
import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pertcast_data.errors import ConfigError, CorruptBundle
from torch import Tensor
from torch import distributed as dist
from torch.nn.modules.batchnorm import _NormBase
from torch.optim.lr_scheduler import LambdaLR

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
    trained_parameters,
    warmup_cosine,
)
from pertcast.training.engines.deepspeed_config import deepspeed_config

_TAG = "deepspeed"


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
        self._working = copy.deepcopy(stage.module).train()
        self._is_sharded = config.engine.zero_stage == 3
        shapes = [parameter.shape for parameter in trained_parameters(self._working)]
        optimiser = build_adamw(trained_parameters(self._working), stage.optimiser, fused=False)
        self._engine, *_ = self._deepspeed.initialize(
            model=self._working,
            optimizer=optimiser,
            lr_scheduler=LambdaLR(optimiser, warmup_cosine(stage.optimiser, total_steps)),
            config=deepspeed_config(config, world_size(), on_gpu=on_gpu),
            dist_init_required=False,
        )
        self._shapes = shapes
        self._shards = self._local_weights() if self._is_sharded else []
        self._shards = [shard.clone() for shard in self._shards]
        self._average = self._moving_average(config.ema_decay)
        self._clips = config.grad_clip is not None
        self.learning_rate = 0.0

    def _local_weights(self) -> list[Tensor]:
        """Return this rank's float32 share of each parameter (stage 3), views into DeepSpeed's buffers."""
        from deepspeed.utils import safe_get_local_fp32_param

        return [safe_get_local_fp32_param(p).detach() for p in trained_parameters(self._working)]

    def _moving_average(self, decay: float) -> MovingAverage:
        if self._is_sharded:
            return MovingAverage(self._shards, self._local_weights(), decay)
        return MovingAverage(trained_parameters(self._averaged), trained_parameters(self._working), decay)

    def step(self, micro_batches: Sequence[Batch], noise: KeyedNoise) -> dict[str, Tensor]:
        """Take one optimiser step; see `Engine.step`."""
        parts = []
        for batch in micro_batches:
            losses = self._engine(batch, noise)
            self.learning_rate = float(self._engine.get_lr()[0])
            self._engine.backward(losses["loss"])
            self._engine.step()
            parts.append(losses)
        result = mean_losses(parts)
        norm = self._engine.get_global_grad_norm() if self._clips else None
        if norm is not None:
            result["grad_norm"] = torch.as_tensor(norm, device=result["loss"].device).detach()
        self._average.update()
        return result

    @torch.no_grad()
    def export(self) -> None:
        """Bring the stage's module up to date; at stage 3 the shards are gathered on every rank."""
        copy_buffers(self._working, self._averaged)
        if not self._is_sharded:
            return
        targets = trained_parameters(self._averaged)
        for target, shard, shape in zip(targets, self._shards, self._shapes, strict=True):
            gathered = [torch.empty_like(shard) for _ in range(world_size())]
            dist.all_gather(gathered, shard)
            target.copy_(torch.cat(gathered)[: shape.numel()].view(shape))

    def save(self, folder: Path) -> None:
        """Write DeepSpeed's checkpoint, and the averaged shards beside it."""
        self._engine.save_checkpoint(str(folder), tag=_TAG, save_latest=False)
        state = {"average_updates": self._average.updates, "shards": self._shards}
        torch.save(state, folder / _average_file())

    def load(self, folder: Path) -> None:
        """Continue from `save`; at stages 0-2 the averaged weights come with the model."""
        path, _ = self._engine.load_checkpoint(str(folder), tag=_TAG)
        if path is None:
            raise CorruptBundle(f"{folder} holds no DeepSpeed state; resume from an earlier checkpoint.")
        state = torch.load(folder / _average_file(), map_location="cpu", weights_only=True)
        self._average.updates = state["average_updates"]
        for ours, theirs in zip(self._shards, state["shards"], strict=True):
            ours.copy_(theirs)

    def close(self) -> None:
        """Let go of DeepSpeed's hooks and of the process group, where it was opened here."""
        self._engine.destroy()
        if self._has_own_group:
            self._deepspeed.comm.destroy_process_group()


def _average_file() -> str:
    return f"average-{rank():05d}.pt"
