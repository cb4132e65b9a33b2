"""`saturating`: Hill doses and a network that saturates, closer to a pharmacologist's picture."""

from __future__ import annotations

from pertcast_data.simulate.genetics import GeneticConditions, GeneticEffects
from pertcast_data.simulate.regimes.answers import saturating_answer
from pertcast_data.simulate.regimes.base import CompoundConditions, Regime
from pertcast_data.simulate.regimes.drives import (
    hill_action,
    in_the_line,
    influence_of_loss,
    structure_efficacy,
    summed_drive,
)
from pertcast_data.simulate.world import Floats, World


def hill_drive(world: World, conditions: CompoundConditions) -> Floats:
    """Return twice the efficacy of structure, as far as targets are occupied and time has passed."""
    efficacy = 2.0 * structure_efficacy(world, conditions.compound)
    return efficacy * hill_action(world, conditions)


def _genetic_drive(world: World, conditions: GeneticConditions) -> Floats:
    drive = 1.5 * summed_drive(world, conditions, influence_of_loss, GeneticEffects())
    return in_the_line(world, conditions, drive)


SATURATING = Regime(
    name="saturating",
    summary="Hill doses and a saturating network; lines differ in sensitivity target by target",
    compound_drive=hill_drive,
    genetic_drive=_genetic_drive,
    respond=saturating_answer,
)
