"""The DeepSpeed configuration that a training configuration stands for; plain, so it can be shown."""

from __future__ import annotations

from typing import Any

from pertcast.training.config import TrainConfig


def deepspeed_config(config: TrainConfig, world_size: int = 1, *, on_gpu: bool = False) -> dict[str, Any]:
    """Return the dictionary that DeepSpeed is initialised with.

    The optimiser is torch's AdamW, handed over by us at every stage; communication overlaps computation only
    on GPUs, where there are streams to overlap.

    Raises
    ------
    ConfigError
        When the batch does not divide over workers and micro-batches.
    """
    zero: dict[str, Any] = {"stage": config.engine.zero_stage, "overlap_comm": on_gpu}
    if config.engine.zero_stage == 3:
        # Small tensors stay whole on each worker by default; then they would be averaged but not sharded.
        zero |= {"stage3_param_persistence_threshold": 0, "sub_group_size": 1_000_000_000}
    if config.engine.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": on_gpu}
    if config.engine.offload == "optimiser_and_parameters":
        zero["offload_param"] = {"device": "cpu", "pin_memory": on_gpu}
    return {
        "train_micro_batch_size_per_gpu": config.micro_batch_size(world_size),
        "gradient_accumulation_steps": config.accumulate,
        # At stage 0 the engine clips: DeepSpeed would, but keeps the norm to itself.
        "gradient_clipping": config.grad_clip or 0.0 if config.engine.zero_stage else 0.0,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        # Without modules that are "safe", gradients are added up over workers in float32, as torch does.
        "torch_autocast": {
            "enabled": config.precision == "bf16",
            "dtype": "bfloat16",
            "lower_precision_safe_modules": [],
        },
        "steps_per_print": 1_000_000_000,
        "wall_clock_breakdown": False,
    }
