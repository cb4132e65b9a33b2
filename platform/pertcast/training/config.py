"""How a run is trained: seed, batch, precision, engine, validation, checkpoints.

What belongs to a model (learning rate, epochs of each stage) lives in the model's own configuration.
"""

from __future__ import annotations

from typing import Literal

from pertcast_data.errors import ConfigError
from pydantic import BaseModel, ConfigDict, Field, model_validator


class EngineConfig(BaseModel):
    """Which engine takes the optimiser steps.

    Attributes
    ----------
    name
        "torch": plain PyTorch, with DistributedDataParallel on several workers. "deepspeed": DeepSpeed ZeRO.
    zero_stage
        DeepSpeed only. 0: nothing is sharded; 1: optimiser state; 2: and gradients; 3: and parameters.
    offload
        DeepSpeed only: what is kept, and stepped on, in main memory instead of on the GPU. "optimiser": the
        optimiser's state (stages 1-3); "optimiser_and_parameters": also the parameters, each fetched when it
        is used (stage 3).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["torch", "deepspeed"] = "torch"
    zero_stage: Literal[0, 1, 2, 3] = 0
    offload: Literal["none", "optimiser", "optimiser_and_parameters"] = "none"

    @model_validator(mode="after")
    def _belongs_to_deepspeed(self) -> EngineConfig:
        offloads = self.offload != "none"
        if self.name == "torch" and (self.zero_stage or offloads):
            raise ValueError("zero_stage and offload need engine.name=deepspeed")
        if offloads and self.zero_stage == 0:
            raise ValueError("offload needs engine.zero_stage 1, 2 or 3")
        if self.offload == "optimiser_and_parameters" and self.zero_stage != 3:
            raise ValueError(
                "offload=optimiser_and_parameters needs engine.zero_stage=3, which alone shards parameters; "
                "use it, or offload=optimiser"
            )
        return self


class TrainConfig(BaseModel):
    """Training of any model, on any number of workers.

    Attributes
    ----------
    seed
        Seed of data order, dropout and noise.
    batch_size
        Rows of one optimiser step, over all workers and accumulated micro-batches.
    epochs
        Passes over the training rows at most, of every stage; None: as many as each stage asks for.
    grad_clip
        Largest norm of the gradient; None: no clipping.
    ema_decay
        Decay of the moving average of the weights, which validation and the bundle use; 0: the weights
        themselves.
    accumulate
        Micro-batches of one optimiser step on each worker: less memory, same result.
    precision
        "fp32" or "bf16" (automatic mixed precision; weights stay float32).
    engine
        Which engine takes the steps.
    activation_checkpointing
        Whether the networks' blocks are computed again in the backward pass instead of keeping what they need
        for it: less memory, more time, the same result.
    compile
        Whether what a stage computes is compiled by torch.compile: minutes at the start of each stage, the
        same result up to rounding. Not at ZeRO stage 3.
    checkpoint_every_steps
        Optimiser steps between checkpoints; one is written at the end of each stage in any case.
    keep_checkpoints
        How many of the newest checkpoints are kept.
    storage_patience_s
        Seconds that training goes on without being able to write a checkpoint (storage away, disk full), and
        that a start waits for storage it cannot read.
    patience
        Validations without a better loss after which a stage stops; None: never early.
    validate_every_epochs
        Epochs between validations; the last epoch of a stage is always validated.
    log_every_steps
        Optimiser steps between log lines and checks for losses that are not finite.
    prefetch
        Micro-batches read ahead by a thread; 0: none.
    frozen_stages
        Stages that keep the weights of the bundle that a run starts from, besides those that the model keeps
        in any case (docs/finetuning.md); a run with fresh weights freezes none.
    start_lr_share
        Share of the model's learning rates that a run takes which starts from a bundle.
    peak_tflops
        What one GPU can do at most in this precision (dense, TFLOP/s), for the utilisation that reports
        tell; None: what its data sheet says, where it is known (`pertcast.training.flops`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, ge=0, lt=2**31)
    batch_size: int = Field(256, ge=1)
    epochs: int | None = Field(None, ge=1)
    grad_clip: float | None = Field(1.0, gt=0)
    ema_decay: float = Field(0.999, ge=0, lt=1)
    accumulate: int = Field(1, ge=1)
    precision: Literal["fp32", "bf16"] = "fp32"
    engine: EngineConfig = EngineConfig()
    activation_checkpointing: bool = False
    compile: bool = False
    checkpoint_every_steps: int = Field(500, ge=1)
    keep_checkpoints: int = Field(2, ge=1)
    storage_patience_s: float = Field(600.0, ge=0)
    patience: int | None = Field(10, ge=1)
    validate_every_epochs: int = Field(1, ge=1)
    log_every_steps: int = Field(20, ge=1)
    prefetch: int = Field(2, ge=0)
    frozen_stages: tuple[str, ...] = ()
    start_lr_share: float = Field(0.1, gt=0, le=1)
    peak_tflops: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _compiles_whole_parameters(self) -> TrainConfig:
        if self.compile and self.engine.zero_stage == 3:
            raise ValueError(
                "compile does not go with engine.zero_stage=3, whose parameters come and go while a module "
                "runs; use another stage, or compile=false"
            )
        return self

    def micro_batch_size(self, world_size: int = 1) -> int:
        """Return the rows that one worker loads at a time: what a `BatchSource` is built with.

        Raises
        ------
        ConfigError
            When `batch_size` does not divide evenly.
        """
        parts = world_size * self.accumulate
        if self.batch_size % parts:
            nearest = max(1, round(self.batch_size / parts)) * parts
            raise ConfigError(
                f"train.batch_size={self.batch_size} does not divide into {world_size} workers x "
                f"{self.accumulate} micro-batches; use a multiple of {parts}, such as {nearest}."
            )
        return self.batch_size // parts
