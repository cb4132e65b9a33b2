"""The steps between two reports: mean losses over ranks, speed, and a watch that all are finite.

Nothing waits for the device between two reports, so a bad loss is found, and named, up to one window later.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from pertcast_data.errors import PertcastError
from torch import Tensor

from pertcast.models.batch import Batch
from pertcast.training.distributed import largest_over_ranks, rank, sum_over_ranks, world_size
from pertcast.training.memory import PeakMemory, peak_memory
from pertcast.training.step_times import StepClock

_IDS_IN_MESSAGE = 8


class NonFiniteLoss(PertcastError):
    """A loss or a gradient became NaN or infinite; checkpoints written before are good.

    Attributes
    ----------
    stage, epoch, global_step
        Where it happened; `global_step` counts from 1.
    term
        Which loss term, or "grad_norm".
    sample_ids
        Rows (in the store) of this rank's share of the batch.
    """

    def __init__(
        self, stage: str, epoch: int, global_step: int, term: str, value: float, sample_ids: Sequence[int]
    ) -> None:
        self.stage, self.epoch, self.global_step, self.term = stage, epoch, global_step, term
        self.sample_ids = tuple(sample_ids)
        shown = ", ".join(str(row) for row in self.sample_ids[:_IDS_IN_MESSAGE])
        more = ", ..." if len(self.sample_ids) > _IDS_IN_MESSAGE else ""
        super().__init__(
            f"Stage {stage!r}, epoch {epoch}, step {global_step}: {term} is {value}. The batch of rank "
            f"{rank()} held rows {shown}{more} of the store ({len(self.sample_ids)} in all). Look for "
            "extreme values in them, lower the learning rate or train.grad_clip, or use "
            "train.precision=fp32. The last checkpoint is from before this step."
        )


@dataclass(frozen=True, slots=True)
class WindowSummary:
    """What a closed window tells.

    Attributes
    ----------
    losses
        Mean of each term over steps and ranks.
    rows
        Rows trained on, over all ranks.
    seconds, wait_seconds
        Time in steps, and of it waiting for rows; means over ranks.
    step_seconds
        Time of each step; means over ranks.
    memory
        Peaks since the processes began; of the rank with the largest.
    """

    losses: Mapping[str, float]
    rows: int
    seconds: float
    wait_seconds: float
    step_seconds: tuple[float, ...]
    memory: PeakMemory


@dataclass
class StepWindow:
    """Collects steps without waiting for the device; `close`, called once, waits and adds up over ranks.

    Attributes
    ----------
    stage
        Name of the stage.
    device
        Where its steps are taken.
    """

    stage: str
    device: torch.device
    _losses: list[dict[str, Tensor]] = field(default_factory=list)
    _ids: list[tuple[Tensor, ...]] = field(default_factory=list)
    _rows: int = 0
    _seconds: float = 0.0
    _wait: float = 0.0
    _clock: StepClock = field(init=False)

    def __post_init__(self) -> None:
        self._clock = StepClock(self.device)

    def __len__(self) -> int:
        return len(self._losses)

    def begin_step(self) -> None:
        """Note that a step begins, before its rows are asked for."""
        if not len(self):
            self._clock.mark()

    def add(
        self, losses: dict[str, Tensor], batches: Sequence[Batch], seconds: float, wait_seconds: float
    ) -> None:
        """Take in one step: its losses, its rows, its whole time and the part that was waiting."""
        self._losses.append(losses)
        self._ids.append(tuple(batch.sample_id for batch in batches))
        self._rows += sum(len(batch) for batch in batches)
        self._seconds += seconds
        self._wait += wait_seconds
        self._clock.mark()

    def close(self, epoch: int, global_step: int) -> WindowSummary:
        """Sum up; called on every rank after the same step, on a window with at least one.

        Raises
        ------
        NonFiniteLoss
            On every rank, naming the first step whose losses are not finite on any of them.
        """
        began = time.perf_counter()
        # What is minimised is named first when it is bad, the gradient, which only follows, last.
        terms = sorted(self._losses[0], key=lambda term: (term == "grad_norm", term != "loss", term))
        table = torch.stack([torch.stack([step[t].double() for t in terms]) for step in self._losses])
        steps = self._clock.seconds()
        facts = table.new_tensor([*steps, self._rows, self._seconds, self._wait])
        both = torch.cat((table.flatten(), facts))
        sum_over_ranks([both])
        n_losses, both_list = table.numel(), both.tolist()
        self._check(epoch, global_step, terms, both_list[:n_losses])
        *steps, rows, seconds, wait = both_list[n_losses:]
        means = both[:n_losses].view(len(self), len(terms)).mean(dim=0) / world_size()
        return WindowSummary(
            losses=dict(zip(terms, means.tolist(), strict=True)),
            rows=int(rows),
            seconds=seconds / world_size() + time.perf_counter() - began,
            wait_seconds=wait / world_size(),
            step_seconds=tuple(each / world_size() for each in steps),
            memory=_largest_memory(self.device),
        )

    def _check(self, epoch: int, global_step: int, terms: list[str], values: list[float]) -> None:
        if all(map(math.isfinite, values)):
            return
        first = next(i for i, value in enumerate(values) if not math.isfinite(value))
        step, term = divmod(first, len(terms))
        ids = torch.cat(self._ids[step]).tolist()
        at = global_step - len(self) + step + 1
        raise NonFiniteLoss(self.stage, epoch, at, terms[term], values[first], ids)


def _largest_memory(device: torch.device) -> PeakMemory:
    mine = peak_memory(device)
    on_gpu = (mine.gpu_allocated_bytes or 0, mine.gpu_reserved_bytes or 0)
    peaks = torch.tensor([mine.resident_bytes, *on_gpu], dtype=torch.int64, device=device)
    largest_over_ranks(peaks)
    resident, allocated, reserved = peaks.tolist()
    return PeakMemory(resident, allocated, reserved) if device.type == "cuda" else PeakMemory(resident)
