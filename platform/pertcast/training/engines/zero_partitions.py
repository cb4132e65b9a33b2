"""Where DeepSpeed keeps what it shards: the one module that knows its ZeRO optimisers from inside.

DeepSpeed's version is pinned, and the tests of resuming would not survive another layout.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from pertcast.training.distributed import rank, world_size
from pertcast.training.ema import MovingAverage
from pertcast.training.engines.state import Fragment, named_trained


def owned_fragments(zero: Any, module: nn.Module, zero_stage: int) -> list[Fragment]:
    """Return the stretches of parameters that this rank's optimiser steps on, stages 1-3.

    Parameters
    ----------
    zero
        DeepSpeed's optimiser.
    module
        The module it trains.
    zero_stage
        1, 2 or 3.
    """
    found = _stage_3_fragment if zero_stage == 3 else _stage_2_fragment
    fragments = (found(zero, name, parameter) for name, parameter in named_trained(module).items())
    return [fragment for fragment in fragments if fragment is not None and fragment.length > 0]


def _stage_2_fragment(zero: Any, name: str, parameter: Any) -> Fragment | None:
    mapping = parameter._hp_mapping
    if mapping is None:
        return None
    holder = zero.single_partition_of_fp32_groups[mapping.param_group_index]
    stretch, place = mapping.lp_fragment_address, mapping.hp_fragment_address
    return Fragment(name, stretch.start, stretch.numel, holder, place.start)


def _stage_3_fragment(zero: Any, name: str, parameter: Any) -> Fragment | None:
    if parameter.ds_numel == 0:
        return None
    group, offset, length = zero.grad_position[zero.get_param_id(parameter)]
    start = rank() * length
    # The last ranks' shares are padded, or nothing but padding.
    kept = min(length, parameter.ds_numel - start)
    return Fragment(name, start, kept, zero.fp32_partitioned_groups_flat[group], offset)


def publish_weights(zero: Any, zero_stage: int) -> None:
    """Bring the parameters that the module computes with up to date with what the optimiser steps on."""
    if zero_stage == 3:
        for number in range(len(zero.fp32_partitioned_groups_flat)):
            zero._reassign_or_swap_out_partitioned_parameters(number)
    else:
        zero.update_lp_params()


def _padded_shard(zero: Any, parameter: Any) -> Tensor:
    """Return this rank's share of a parameter at stage 3, as a view into the buffer that is stepped on.

    It is padded to the same length on all ranks. DeepSpeed's public function for it returns a copy where
    parameters are offloaded.
    """
    group, offset, length = zero.grad_position[zero.get_param_id(parameter)]
    buffer: Tensor = zero.fp32_partitioned_groups_flat[group]
    return buffer.detach()[offset : offset + length]


class ShardedAverage(MovingAverage):
    """The moving average at stage 3: each rank averages its shards; whole tensors are made when asked for.

    Parameters
    ----------
    averaged
        The whole parameters, in the order of `module`'s.
    zero
        DeepSpeed's optimiser.
    module
        The sharded working copy.
    decay
        As in `MovingAverage`.
    """

    def __init__(self, averaged: list[nn.Parameter], zero: Any, module: nn.Module, decay: float) -> None:
        pairs = zip(averaged, named_trained(module).values(), strict=True)
        kept = [(whole, sharded) for whole, sharded in pairs if whole.numel()]
        live = [_padded_shard(zero, sharded) for _, sharded in kept]
        self._whole = [whole.detach() for whole, _ in kept]
        self._shards = [shard.clone() for shard in live]
        super().__init__(self._shards, live, decay)

    @torch.no_grad()
    def gather(self) -> None:
        """Bring the whole parameters up to date, on every rank."""
        for whole, shard in zip(self._whole, self._shards, strict=True):
            # Where parameters are offloaded, shards are in main memory, which NCCL does not reach.
            sent = shard.to(whole.device)
            gathered = [torch.empty_like(sent) for _ in range(world_size())]
            dist.all_gather(gathered, sent)
            whole.copy_(torch.cat(gathered)[: whole.numel()].view(whole.shape))

    @torch.no_grad()
    def cut(self) -> None:
        """Take this rank's shards from the whole parameters."""
        for whole, shard in zip(self._whole, self._shards, strict=True):
            mine = whole.reshape(-1)[rank() * len(shard) : (rank() + 1) * len(shard)]
            shard.zero_()
            shard[: len(mine)].copy_(mine)
