"""Closed-form stages: one pass over the rows, sums in float64, added up over ranks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pertcast.models.contract import StatisticsStage
from pertcast.training.data import BatchSource
from pertcast.training.distributed import sum_over_ranks

BatchCallback = Callable[[int, int], None]
"""Told after each batch: batches done, rows in it."""


def _ignore(n_batches: int, n_rows: int) -> None:
    """Take no notice."""


@torch.no_grad()
def collect_sums(
    stage: StatisticsStage, source: BatchSource, device: torch.device, on_batch: BatchCallback = _ignore
) -> dict[str, Tensor]:
    """Return the stage's sums over all rows of all ranks.

    Stages of one name take the same sums: they can be collected once and given to the `finish` of each.

    Parameters
    ----------
    stage
        The stage whose `start` and `update` make the sums.
    source
        Rows once each over all ranks; a rank may have none.
    device
        Where batches and sums live.
    on_batch
        Told of progress.
    """
    sums = {name: value.to(device) for name, value in stage.start().items()}
    for done, batch in enumerate(source.batches(0), start=1):
        stage.update(sums, batch.to(device))
        on_batch(done, len(batch))
    sum_over_ranks(sums[name] for name in sorted(sums))
    return sums
