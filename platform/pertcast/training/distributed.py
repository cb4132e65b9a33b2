"""The few things training asks of torch.distributed; each works alone too, where none is initialised."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist

Value = TypeVar("Value")


def is_distributed() -> bool:
    """Whether several ranks train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def world_size() -> int:
    """Return the number of ranks."""
    return dist.get_world_size() if is_distributed() else 1


def rank() -> int:
    """Return this process's rank, 0 when alone."""
    return dist.get_rank() if is_distributed() else 0


def barrier() -> None:
    """Wait for all ranks."""
    if is_distributed():
        dist.barrier()


def sum_over_ranks(tensors: Iterable[Tensor]) -> None:
    """Add up tensors over ranks, in place, in their own precision."""
    if is_distributed():
        for tensor in tensors:
            dist.all_reduce(tensor)


def from_rank_zero(value: Value) -> Value:
    """Return rank 0's value on every rank; it is pickled, so it is something small and plain."""
    if not is_distributed():
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def gather_objects(value: Value) -> list[Value]:
    """Return the values of all ranks, by rank, on every rank; small and plain ones."""
    if not is_distributed():
        return [value]
    values: list[Value] = [value] * world_size()
    dist.all_gather_object(values, value)
    return values


def largest_over_ranks(tensor: Tensor) -> None:
    """Replace each value by the largest over ranks, in place."""
    if is_distributed():
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)


@torch.no_grad()
def copy_from_rank_zero(module: nn.Module) -> None:
    """Give every rank the parameters and buffers of rank 0."""
    if is_distributed():
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, src=0)
