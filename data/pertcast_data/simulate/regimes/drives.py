"""What regimes share: how structure and dose, and how lost genes, drive the regulators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from pertcast_data.simulate.genetics import OVEREXPRESSION, GeneticConditions, GeneticEffects
from pertcast_data.simulate.regimes.base import CompoundConditions, Integers
from pertcast_data.simulate.world import Floats, World

HILL_COEFFICIENT: Final = 1.3
HOURS_TO_ACT: Final = 8.0
LARGEST_GAIN: Final = 0.6

Loss = Callable[[World, Integers], Floats]
"""(world, N genes) -> (N, R) drive of losing each gene entirely."""


def scaffold_efficacy(world: World, compound: Integers) -> Floats:
    """Return the (N, R) signed efficacy that compounds have by their scaffold."""
    return world.pharmacology.scaffold_targets[world.library.scaffold[compound]]


def substituent_efficacy(world: World, compound: Integers) -> Floats:
    """Return the (N, R) signed efficacy that compounds have by their substituents."""
    counts = world.library.substituents[compound]
    return np.asarray(counts @ world.pharmacology.substituent_targets, dtype=np.float64)


def structure_efficacy(world: World, compound: Integers) -> Floats:
    """Return the (N, R) signed efficacy of compounds: the sum over their scaffold and substituents."""
    return scaffold_efficacy(world, compound) + substituent_efficacy(world, compound)


def hill_action(world: World, conditions: CompoundConditions) -> Floats:
    """Return the (N, R) share of its efficacy that a compound exerts at each target by then.

    Occupancy follows Hill's law; structure and, target by target, the line's sensitivity set potency.
    """
    library, pharmacology = world.library, world.pharmacology
    potency = pharmacology.scaffold_potency[library.scaffold[conditions.compound]]
    potency = potency + library.substituents[conditions.compound] @ pharmacology.substituent_potency
    half_maximal = potency[:, None] + 1.5 * world.contexts.sensitivity[conditions.context]
    decades_above = np.log10(conditions.dose)[:, None] - half_maximal
    occupancy = 1.0 / (1.0 + 10.0 ** (-HILL_COEFFICIENT * decades_above))
    acted = 1.0 - np.exp(-conditions.time / HOURS_TO_ACT)
    return np.asarray(occupancy * acted[:, None], dtype=np.float64)


def influence_of_loss(world: World, genes: Integers) -> Floats:
    """Return the (N, R) drive of losing genes: a regulator falls silent, a member weakens its regulators."""
    return np.asarray(world.network.influence[genes].toarray(), dtype=np.float64)


def drive_of_place(
    world: World, conditions: GeneticConditions, place: int, loss: Loss, effects: GeneticEffects
) -> Floats:
    """Return the (N, R) drive of the first (0) or second (1) genes of conditions; 0 where there is none."""
    effects = effects.coupled(world.type_coupling)
    strength, coupling = np.asarray(effects.strength), np.asarray(effects.coupling)
    rows = np.flatnonzero(conditions.genes[:, place] >= 0)
    kind, gene = conditions.kind[rows], conditions.genes[rows, place]
    share = coupling[kind][:, None]
    drive = np.zeros((len(conditions), world.network.n_regulators))
    drive[rows] = share * loss(world, gene)
    astray = share[:, 0] < 1.0
    accident = loss(world, world.off_target[kind, gene][astray])
    drive[rows[astray]] += np.sqrt(1.0 - share[astray] ** 2) * accident
    drive[rows] *= strength[kind][:, None]
    return drive


def summed_drive(world: World, conditions: GeneticConditions, loss: Loss, effects: GeneticEffects) -> Floats:
    """Return the (N, R) drive of genetic conditions; a pair is the sum of its two genes."""
    places = range(conditions.genes.shape[1])
    drives = [drive_of_place(world, conditions, place, loss, effects) for place in places]
    return np.asarray(np.sum(drives, axis=0), dtype=np.float64)


def in_the_line(world: World, conditions: GeneticConditions, drive: Floats) -> Floats:
    """Scale an (N, R) drive by the line's sensitivity; what over-expression adds saturates early."""
    scaled = drive * 10.0 ** (-world.contexts.sensitivity[conditions.context])
    more = conditions.kind == OVEREXPRESSION
    scaled[more] = LARGEST_GAIN * np.tanh(scaled[more] / LARGEST_GAIN)
    return np.asarray(scaled, dtype=np.float64)
