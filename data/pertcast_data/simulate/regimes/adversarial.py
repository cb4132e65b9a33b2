"""`adversarial`: most of every response is the same stress, plates are confounded, targets are unforeseeable.

Scores that do not compare with the mean profile look splendid here, and chemistry tells little.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from pertcast_data.simulate.design import Design
from pertcast_data.simulate.genetics import GeneticConditions, GeneticEffects
from pertcast_data.simulate.regimes.answers import limited_answer
from pertcast_data.simulate.regimes.base import CompoundConditions, Integers, Regime
from pertcast_data.simulate.regimes.drives import (
    hill_action,
    in_the_line,
    influence_of_loss,
    structure_efficacy,
    summed_drive,
)
from pertcast_data.simulate.world import Floats, World

STRENGTH: Final = 2.0
SHARE_OF_STRUCTURE: Final = 0.5
STRESS_OF_A_KIND: Final = (1.0, 0.8, 0.9)


def _efficacy(world: World, compound: Integers) -> Floats:
    """Return (N, R) efficacy: half of what structure tells, on familiar targets only, and own targets.

    Never-profiled compounds have nothing but own targets, which no profiled compound acts on.
    """
    adversity, library = world.adversity, world.library
    told = SHARE_OF_STRUCTURE * structure_efficacy(world, compound) * ~adversity.is_reserved
    efficacy = told * (compound < library.n_profiled)[:, None]
    rows = np.arange(len(compound))[:, None]
    np.add.at(efficacy, (rows, adversity.own_targets[compound]), adversity.own_efficacy[compound])
    return efficacy


def _compound_drive(world: World, conditions: CompoundConditions) -> Floats:
    """Stress grows by half with a compound's occupancy; the rest is what its targets do."""
    action = hill_action(world, conditions)
    stress = 1.0 + 0.5 * action.mean(axis=1)
    own = STRENGTH * action * _efficacy(world, conditions.compound)
    return own + np.outer(stress, world.adversity.stress_axis)


def _genetic_drive(world: World, conditions: GeneticConditions) -> Floats:
    own = in_the_line(world, conditions, summed_drive(world, conditions, influence_of_loss, GeneticEffects()))
    stress = np.asarray(STRESS_OF_A_KIND)[conditions.kind]
    return own + np.outer(stress, world.adversity.stress_axis)


ADVERSARIAL = Regime(
    name="adversarial",
    summary="one stress shared by all perturbations, confounded plates and batches, unforeseeable targets",
    compound_drive=_compound_drive,
    genetic_drive=_genetic_drive,
    respond=limited_answer,
    design=Design(plate_maps=4, treated_shift=0.2, home_batch_share=0.8),
)
