"""How genes answer a perturbation: one small strategy a regime, in an immutable registry.

A regime turns conditions into a drive on the regulators and the drive into log2 changes of genes; it knows
nothing of plates, cells or noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertcast_data.errors import ConfigError, nearest_known
from pertcast_data.simulate.world import Floats, World

Integers = NDArray[np.int64]

HILL_COEFFICIENT: Final = 1.3
HOURS_TO_ACT: Final = 8.0
LARGEST_RESPONSE: Final = 3.0


@dataclass(frozen=True, slots=True)
class CompoundConditions:
    """N compound treatments: (N,) rows of the world's contexts and compounds, dose in uM, time in hours."""

    context: Integers
    compound: Integers
    dose: Floats
    time: Floats


@dataclass(frozen=True, slots=True)
class KnockoutConditions:
    """N gene knock-outs: (N,) context, (N, 2) gene indices with -1 for the empty place of a single."""

    context: Integers
    genes: Integers


@dataclass(frozen=True, slots=True)
class Regime:
    """A rule of response.

    Attributes
    ----------
    name, summary
        For the registry and for people.
    compound_drive
        (world, N compound conditions) -> (N, R) drive on the regulators.
    knockout_drive
        (world, N knock-outs) -> (N, R) drive on the regulators.
    respond
        (world, (N, R) drive) -> (N, G) log2 changes at effect size 1.
    own_gene_change
        log2 change of a knocked-out gene's own transcript, added to the network's response.
    """

    name: str
    summary: str
    compound_drive: Callable[[World, CompoundConditions], Floats]
    knockout_drive: Callable[[World, KnockoutConditions], Floats]
    respond: Callable[[World, Floats], Floats]
    own_gene_change: float = -3.0


def structure_efficacy(world: World, compound: Integers) -> Floats:
    """Return the (N, R) signed efficacy of compounds: the sum over their scaffold and substituents."""
    library, pharmacology = world.library, world.pharmacology
    from_scaffold = pharmacology.scaffold_targets[library.scaffold[compound]]
    from_substituents = library.substituents[compound] @ pharmacology.substituent_targets
    return np.asarray(from_scaffold + from_substituents, dtype=np.float64)


def _linear_compound_drive(world: World, conditions: CompoundConditions) -> Floats:
    """Add up structure, log-dose, log-time and the line's own answer: no term multiplies another."""
    decades = np.log10(conditions.dose / world.reference_dose)
    doublings = np.log2(conditions.time / world.reference_time)
    drive = structure_efficacy(world, conditions.compound)
    drive += np.outer(decades, world.dose_axis) + np.outer(doublings, world.time_axis)
    return drive + world.contexts.sensitivity[conditions.context]


def _summed_loss(world: World, conditions: KnockoutConditions) -> Floats:
    drive = np.zeros((len(conditions.context), world.network.n_regulators))
    for place in range(conditions.genes.shape[1]):
        filled = conditions.genes[:, place] >= 0
        drive[filled] += world.network.influence[conditions.genes[filled, place]].toarray()
    return drive


def _linear_response(world: World, drive: Floats) -> Floats:
    """Return the steady state of regulators hearing each other, passed linearly to modules and genes."""
    network = world.network
    identity = np.eye(network.n_regulators)
    regulators = np.linalg.solve((identity - network.crosstalk).T, drive.T).T
    return np.asarray((regulators @ network.control) @ network.membership, dtype=np.float64)


def _hill_compound_drive(world: World, conditions: CompoundConditions) -> Floats:
    """Occupy targets by Hill's law; structure and, target by target, the line's sensitivity set potency."""
    library, pharmacology = world.library, world.pharmacology
    potency = pharmacology.scaffold_potency[library.scaffold[conditions.compound]]
    potency = potency + library.substituents[conditions.compound] @ pharmacology.substituent_potency
    half_maximal = potency[:, None] + 1.5 * world.contexts.sensitivity[conditions.context]
    decades_above = np.log10(conditions.dose)[:, None] - half_maximal
    occupancy = 1.0 / (1.0 + 10.0 ** (-HILL_COEFFICIENT * decades_above))
    acted = 1.0 - np.exp(-conditions.time / HOURS_TO_ACT)
    efficacy = structure_efficacy(world, conditions.compound)
    return np.asarray(2.0 * efficacy * occupancy * acted[:, None], dtype=np.float64)


def _sensitive_loss(world: World, conditions: KnockoutConditions) -> Floats:
    gain = 10.0 ** (-world.contexts.sensitivity[conditions.context])
    return np.asarray(1.5 * _summed_loss(world, conditions) * gain, dtype=np.float64)


def _saturating_response(world: World, drive: Floats) -> Floats:
    """Return the fixed point of saturating regulators; modules and genes saturate as well.

    Each regulator hears less than 0.6 in all, so the iteration contracts: 60 rounds leave < 1e-13.
    """
    network = world.network
    regulators = np.tanh(drive)
    for _ in range(60):
        regulators = np.tanh(drive + regulators @ network.crosstalk)
    modules = np.tanh(1.5 * (regulators @ network.control))
    change = np.asarray(1.2 * (modules @ network.membership), dtype=np.float64)
    return LARGEST_RESPONSE * np.tanh(change / LARGEST_RESPONSE)


REGIMES: Final[Mapping[str, Regime]] = MappingProxyType(
    {
        "linear": Regime(
            name="linear",
            summary="additive; linear in structure, log-dose and log-time: a linear model is all one needs",
            compound_drive=_linear_compound_drive,
            knockout_drive=_summed_loss,
            respond=_linear_response,
        ),
        "saturating": Regime(
            name="saturating",
            summary="Hill doses and a saturating network; lines differ in sensitivity target by target",
            compound_drive=_hill_compound_drive,
            knockout_drive=_sensitive_loss,
            respond=_saturating_response,
        ),
    }
)
"""Name -> regime. A regime is fixed before any model is tuned on it."""


def get_regime(name: str) -> Regime:
    """Return a regime by name; raises ConfigError naming the nearest known ones."""
    if name in REGIMES:
        return REGIMES[name]
    hint = nearest_known(name, REGIMES) or list(REGIMES)
    raise ConfigError(f"Unknown regime {name!r}. Did you mean {' or '.join(hint)}?")


def compound_response(regime: Regime, world: World, conditions: CompoundConditions) -> Floats:
    """Return the (N, G) noise-free log2 changes of compound treatments at effect size 1."""
    return regime.respond(world, regime.compound_drive(world, conditions))


def knockout_response(regime: Regime, world: World, conditions: KnockoutConditions) -> Floats:
    """Return the (N, G) noise-free log2 changes of knock-outs at effect size 1, the lost genes included."""
    change = regime.respond(world, regime.knockout_drive(world, conditions))
    for place in range(conditions.genes.shape[1]):
        rows = np.flatnonzero(conditions.genes[:, place] >= 0)
        change[rows, conditions.genes[rows, place]] += regime.own_gene_change
    return change
