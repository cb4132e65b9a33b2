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
from pertcast_data.simulate.genetics import OVEREXPRESSION, GeneticConditions, GeneticEffects
from pertcast_data.simulate.world import Floats, World

Integers = NDArray[np.int64]

HILL_COEFFICIENT: Final = 1.3
HOURS_TO_ACT: Final = 8.0
LARGEST_RESPONSE: Final = 3.0
LARGEST_GAIN: Final = 0.6


@dataclass(frozen=True, slots=True)
class CompoundConditions:
    """N compound treatments: (N,) rows of the world's contexts and compounds, dose in uM, time in hours."""

    context: Integers
    compound: Integers
    dose: Floats
    time: Floats


@dataclass(frozen=True, slots=True)
class Regime:
    """A rule of response.

    Attributes
    ----------
    name, summary
        For the registry and for people.
    compound_drive
        (world, N compound conditions) -> (N, R) drive on the regulators.
    genetic_drive
        (world, N genetic conditions) -> (N, R) drive on the regulators.
    respond
        (world, (N, R) drive) -> (N, G) log2 changes at effect size 1.
    own_gene_change
        log2 change of a perturbed gene's own transcript by kind, added to the network's response.
    """

    name: str
    summary: str
    compound_drive: Callable[[World, CompoundConditions], Floats]
    genetic_drive: Callable[[World, GeneticConditions], Floats]
    respond: Callable[[World, Floats], Floats]
    own_gene_change: tuple[float, float, float] = GeneticEffects().own_gene


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


def influence_of_loss(world: World, genes: Integers) -> Floats:
    """Return the (N, R) drive of losing genes: a regulator falls silent, a member weakens its regulators."""
    return np.asarray(world.network.influence[genes].toarray(), dtype=np.float64)


def summed_drive(
    world: World,
    conditions: GeneticConditions,
    loss: Callable[[World, Integers], Floats],
    effects: GeneticEffects,
) -> Floats:
    """Return the (N, R) drive of genetic conditions: `loss` of each gene, by kind, summed over a pair."""
    strength, coupling = np.asarray(effects.strength), np.asarray(effects.coupling)
    drive = np.zeros((len(conditions), world.network.n_regulators))
    for genes in conditions.genes.T:
        rows = np.flatnonzero(genes >= 0)
        kind, gene = conditions.kind[rows], genes[rows]
        own, other = loss(world, gene), loss(world, world.off_target[kind, gene])
        share = coupling[kind][:, None]
        drive[rows] += strength[kind][:, None] * (share * own + np.sqrt(1.0 - share**2) * other)
    return drive


def _additive_genetic_drive(world: World, conditions: GeneticConditions) -> Floats:
    return summed_drive(world, conditions, influence_of_loss, GeneticEffects())


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


def _sensitive_genetic_drive(world: World, conditions: GeneticConditions) -> Floats:
    """Scale the summed drive by the line's sensitivity; what over-expression adds saturates early."""
    gain = 10.0 ** (-world.contexts.sensitivity[conditions.context])
    drive = 1.5 * _additive_genetic_drive(world, conditions) * gain
    more = conditions.kind == OVEREXPRESSION
    drive[more] = LARGEST_GAIN * np.tanh(drive[more] / LARGEST_GAIN)
    return np.asarray(drive, dtype=np.float64)


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
            genetic_drive=_additive_genetic_drive,
            respond=_linear_response,
        ),
        "saturating": Regime(
            name="saturating",
            summary="Hill doses and a saturating network; lines differ in sensitivity target by target",
            compound_drive=_hill_compound_drive,
            genetic_drive=_sensitive_genetic_drive,
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


def genetic_response(regime: Regime, world: World, conditions: GeneticConditions) -> Floats:
    """Return the (N, G) noise-free log2 changes at effect size 1, those of the perturbed genes included."""
    change = regime.respond(world, regime.genetic_drive(world, conditions))
    own = np.asarray(regime.own_gene_change)
    for genes in conditions.genes.T:
        rows = np.flatnonzero(genes >= 0)
        change[rows, genes[rows]] += own[conditions.kind[rows]]
    return change
