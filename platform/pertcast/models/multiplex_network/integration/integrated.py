"""What every way of integrating networks returns: a vector a gene, all on one scale, and figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all and a note."""


@dataclass(frozen=True, slots=True)
class Integrated:
    """Features of the genes of a multiplex.

    Attributes
    ----------
    features
        (N, D) float32, mean square length 1 over the genes; D is at most the number of components asked for.
    facts
        Figures of the integration, by name ("seconds", "iterations", ...): for logs and reports.
    """

    features: Tensor
    facts: Mapping[str, float]


def unit_mean_square(features: Tensor) -> Tensor:
    """Return (N, D) float32 features scaled to a mean square length of 1 over the genes; zeros stay zeros."""
    wide = features.double()
    length = wide.square().sum(dim=1).mean().sqrt() if len(wide) else torch.zeros((), device=wide.device)
    return (wide / length.clamp(min=1e-12)).float().contiguous()


def no_progress(done: int, total: int, note: str) -> None:
    """Ignore progress: the default of every function that reports it."""
