"""Held-out losses of the averaged weights, over all ranks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pertcast_data.errors import ConfigError

from pertcast.models.contract import GradientStage
from pertcast.models.noise import KeyedNoise
from pertcast.training.data import BatchSource
from pertcast.training.distributed import sum_over_ranks


@torch.no_grad()
def validate(
    stage: GradientStage, source: BatchSource, terms: Sequence[str], seed: int, device: torch.device
) -> dict[str, float]:
    """Return the mean of each loss term over the rows of `source`, each counted as often as it comes.

    In whole groups of one condition, a row that fills up a group counts again.

    Noise is that of step 0 at every validation, so that two validations differ by the weights alone.

    Parameters
    ----------
    stage
        The stage; its module carries the averaged weights.
    source
        Held-out rows; ranks may have different numbers of batches, or none.
    terms
        Names of the loss terms, as in training.
    seed
        Seed of the noise.
    device
        Where the module lives.

    Raises
    ------
    ConfigError
        When the module does not return one of the terms, or there is no held-out row.
    """
    stage.module.eval()
    sums = torch.zeros(len(terms) + 1, dtype=torch.float64, device=device)
    noise = KeyedNoise(seed)
    for batch in source.batches(0):
        losses = stage.module(batch.to(device), noise)
        missing = [term for term in terms if term not in losses]
        if missing:
            raise ConfigError(
                f"Stage {stage.name!r} returns no {missing[0]!r} in evaluation but does in training; "
                "its module must return the same terms in both."
            )
        values = torch.stack([losses[term].double() for term in terms])
        sums[:-1] += values * len(batch)
        sums[-1] += len(batch)
    sum_over_ranks([sums])
    *totals, rows = sums.tolist()
    if rows == 0:
        raise ConfigError(f"Stage {stage.name!r} has held-out data without rows; give none instead.")
    return {term: total / rows for term, total in zip(terms, totals, strict=True)}
