"""`linear`: everything adds up, so that a linear model is all one needs."""

from __future__ import annotations

import numpy as np

from pertcast_data.simulate.genetics import GeneticConditions, GeneticEffects
from pertcast_data.simulate.regimes.answers import linear_answer
from pertcast_data.simulate.regimes.base import CompoundConditions, Regime
from pertcast_data.simulate.regimes.drives import influence_of_loss, structure_efficacy, summed_drive
from pertcast_data.simulate.world import Floats, World


def _compound_drive(world: World, conditions: CompoundConditions) -> Floats:
    """Add up structure, log-dose, log-time and the line's own answer: no term multiplies another."""
    decades = np.log10(conditions.dose / world.reference_dose)
    doublings = np.log2(conditions.time / world.reference_time)
    drive = structure_efficacy(world, conditions.compound)
    drive += np.outer(decades, world.dose_axis) + np.outer(doublings, world.time_axis)
    return drive + world.contexts.sensitivity[conditions.context]


def _genetic_drive(world: World, conditions: GeneticConditions) -> Floats:
    return summed_drive(world, conditions, influence_of_loss, GeneticEffects())


LINEAR = Regime(
    name="linear",
    summary="additive; linear in structure, log-dose and log-time: a linear model is all one needs",
    compound_drive=_compound_drive,
    genetic_drive=_genetic_drive,
    respond=linear_answer,
)
