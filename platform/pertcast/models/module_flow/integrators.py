"""Following trajectories from time 0 to 1: fixed steps, or steps that follow an error estimate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import torch
from pertcast_data.errors import PertcastError
from torch import Tensor

from pertcast.models.module_flow.config import IntegratorConfig

Field = Callable[[float, Tensor], Tensor]
"""(time, latents) -> velocities of the same shape."""

_MOST_STEPS: Final = 1_000


class IntegrationFailed(PertcastError):
    """The adaptive integrator does not reach the end at its tolerance."""


def _euler(field: Field, time: float, step: float, latent: Tensor) -> Tensor:
    return latent + step * field(time, latent)


def _midpoint(field: Field, time: float, step: float, latent: Tensor) -> Tensor:
    half = torch.add(latent, field(time, latent), alpha=step / 2)
    return torch.add(latent, field(time + step / 2, half), alpha=step)


def _rk4(field: Field, time: float, step: float, latent: Tensor) -> Tensor:
    middle = time + step / 2
    first = field(time, latent)
    second = field(middle, latent + step / 2 * first)
    third = field(middle, latent + step / 2 * second)
    fourth = field(time + step, latent + step * third)
    return latent + step / 6 * (first + 2 * (second + third) + fourth)


STEPPERS: Final[Mapping[str, Callable[[Field, float, float, Tensor], Tensor]]] = MappingProxyType(
    {"euler": _euler, "midpoint": _midpoint, "rk4": _rk4}
)
"""Name -> one step of a fixed-step method."""

_NODES: Final = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_STAGES: Final = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR: Final = (
    71 / 57600,
    0.0,
    -71 / 16695,
    71 / 1920,
    -17253 / 339200,
    22 / 525,
    -1 / 40,
)


def integrate(field: Field, start: Tensor, config: IntegratorConfig, steps: int | None = None) -> Tensor:
    """Return the latents at time 1.

    Parameters
    ----------
    field
        Velocity.
    start
        (..., D) latents at time 0.
    config
        Method, steps, tolerance.
    steps
        Fixed steps in the place of the configured ones.

    Raises
    ------
    IntegrationFailed
        The adaptive method needs more than 1,000 steps.
    """
    if config.kind == "adaptive":
        return _adaptive(field, start, config.tolerance)
    number = steps or config.steps
    latent = start
    for step in range(number):
        latent = STEPPERS[config.kind](field, step / number, 1 / number, latent)
    return latent


def _adaptive(field: Field, start: Tensor, tolerance: float) -> Tensor:
    """Dormand & Prince 1980, order 5 (4), one step size for all trajectories of a call."""
    latent, time, step = start, 0.0, 0.1
    first = field(time, latent)
    for _ in range(_MOST_STEPS):
        step = min(step, 1.0 - time)
        slopes = [first]
        for node, weights in zip(_NODES[1:], _STAGES[1:], strict=True):
            at = latent + step * sum(w * k for w, k in zip(weights, slopes, strict=True) if w)
            slopes.append(field(time + node * step, at))
        moved = latent + step * sum(w * k for w, k in zip(_STAGES[-1], slopes, strict=False) if w)
        error = step * sum(w * k for w, k in zip(_ERROR, slopes, strict=True) if w)
        allowed = tolerance * (1 + torch.maximum(latent.abs(), moved.abs()))
        ratio = float((torch.as_tensor(error) / allowed).abs().amax())
        if ratio <= 1:
            time, latent, first = time + step, moved, slopes[-1]
            if time >= 1.0 - 1e-12:
                return latent
        step *= min(5.0, max(0.2, 0.9 * max(ratio, 1e-10) ** -0.2))
    raise IntegrationFailed(
        f"The flow needs more than {_MOST_STEPS} steps at a tolerance of {tolerance:g}. Raise "
        "model.config.integrator.tolerance, or use model.config.integrator.kind=midpoint."
    )
