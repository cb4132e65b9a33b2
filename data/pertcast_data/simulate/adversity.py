"""What makes an atlas treacherous: stress that any treatment causes, targets that structure does not tell.

Drawn for every atlas, used by the regime `adversarial` alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STRESS_REGULATORS: Final = 5
STRESS_STRENGTH: Final = (0.8, 1.6)
OWN_TARGETS: Final = 2
OWN_EFFICACY: Final = (0.5, 1.0)
RESERVED_SHARE: Final = 0.25


@dataclass(frozen=True, slots=True)
class Adversity:
    """Stress and unforeseeable targets over R regulators and N compounds of the library.

    Attributes
    ----------
    stress_axis
        (R,) drive of the stress that every perturbation causes.
    is_reserved
        (R,) bool, regulators that no profiled compound acts on.
    own_targets, own_efficacy
        (N, 2) int64 and float64: targets of each compound that its structure does not tell; those of
        never-profiled compounds are reserved, those of the others are not.
    """

    stress_axis: Floats
    is_reserved: NDArray[np.bool_]
    own_targets: NDArray[np.int64]
    own_efficacy: Floats


def build_adversity(
    n_regulators: int, n_compounds: int, n_profiled: int, random: np.random.Generator
) -> Adversity:
    """Draw stress and own targets; a quarter of the regulators is reserved."""
    each = 1 + n_regulators // 160
    stress = np.zeros(n_regulators)
    stressed = random.choice(n_regulators, size=min(STRESS_REGULATORS * each, n_regulators), replace=False)
    stress[stressed] = _signs(len(stressed), random) * random.uniform(*STRESS_STRENGTH, size=len(stressed))
    order = random.permutation(n_regulators)
    n_reserved = max(round(RESERVED_SHARE * n_regulators), 1)
    reserved, familiar = order[:n_reserved], order[n_reserved:]
    shape = (n_compounds, OWN_TARGETS)
    is_profiled = (np.arange(n_compounds) < n_profiled)[:, None]
    targets = np.where(is_profiled, random.choice(familiar, size=shape), random.choice(reserved, size=shape))
    return Adversity(
        stress_axis=stress,
        is_reserved=np.isin(np.arange(n_regulators), reserved),
        own_targets=targets.astype(np.int64),
        own_efficacy=_signs(shape, random) * random.uniform(*OWN_EFFICACY, size=shape),
    )


def _signs(shape: int | tuple[int, ...], random: np.random.Generator) -> Floats:
    return np.where(random.random(shape) < 0.5, -1.0, 1.0)
