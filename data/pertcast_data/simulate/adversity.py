"""What makes an atlas treacherous: stress that any treatment causes, targets that structure does not tell.

Drawn for every atlas, used by the regime `adversarial` alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertcast_data.simulate.genome import Network

Floats = NDArray[np.float64]

STRESS_SHARE: Final = 0.33
STRESS_CHANGE: Final = 0.6
OWN_TARGETS: Final = 2
OWN_EFFICACY: Final = (0.5, 1.0)
RESERVED_SHARE: Final = 0.25


@dataclass(frozen=True, slots=True)
class Adversity:
    """Stress and unforeseeable targets over R regulators and N compounds of the library.

    Attributes
    ----------
    stress_axis
        (R,) drive of the stress that every perturbation causes: 0.6 log2 units, root mean square of genes.
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
    network: Network, n_compounds: int, n_profiled: int, random: np.random.Generator
) -> Adversity:
    """Draw stress and own targets; a quarter of the regulators is reserved."""
    n_regulators = network.n_regulators
    order = random.permutation(n_regulators)
    n_reserved = max(round(RESERVED_SHARE * n_regulators), 1)
    reserved, familiar = order[:n_reserved], order[n_reserved:]
    shape = (n_compounds, OWN_TARGETS)
    is_profiled = (np.arange(n_compounds) < n_profiled)[:, None]
    targets = np.where(is_profiled, random.choice(familiar, size=shape), random.choice(reserved, size=shape))
    return Adversity(
        stress_axis=_stress_axis(network, random),
        is_reserved=np.isin(np.arange(n_regulators), reserved),
        own_targets=targets.astype(np.int64),
        own_efficacy=_signs(shape, random) * random.uniform(*OWN_EFFICACY, size=shape),
    )


def _stress_axis(network: Network, random: np.random.Generator) -> Floats:
    """Let a third of the regulators carry the stress, scaled to what its answer shall be."""
    axis = np.zeros(network.n_regulators)
    size = max(round(STRESS_SHARE * len(axis)), 1)
    axis[random.choice(len(axis), size=size, replace=False)] = _signs(size, random)
    answer = network.steady_answer(axis[None, :])
    return np.asarray(axis * STRESS_CHANGE / np.sqrt((answer**2).mean()), dtype=np.float64)


def _signs(shape: int | tuple[int, ...], random: np.random.Generator) -> Floats:
    return np.where(random.random(shape) < 0.5, -1.0, 1.0)
