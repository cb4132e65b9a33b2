"""`epistatic`: two hits on processes interact, by synergy, suppression or a new effect; nothing else bends.

The same holds between a compound's scaffold and its substituents, which hit processes as two genes do.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from pertcast_data.simulate.genetics import GeneticConditions, GeneticEffects
from pertcast_data.simulate.regimes.answers import limited_answer
from pertcast_data.simulate.regimes.base import CompoundConditions, Integers, Regime
from pertcast_data.simulate.regimes.drives import (
    drive_of_place,
    hill_action,
    in_the_line,
    influence_of_loss,
    scaffold_efficacy,
    substituent_efficacy,
)
from pertcast_data.simulate.world import Floats, World

ACTIVITY_OF_A_DRIVE: Final = 2.5
SHARPNESS: Final = 4
ANSWER_OF_A_MASTER: Final = 0.6
STRENGTH: Final = 0.6


def process_activity(world: World, drive: Floats) -> Floats:
    """Return how strongly (N, R) drives hit each of P processes: (N, P), at least 0, each row at most 1.

    tanh(2.5 |drive|), shared out by the energy in each process to the fourth: one usually has nearly all.
    """
    by_process = drive**2 @ world.interplay.member
    length = np.sqrt(by_process.sum(axis=1, keepdims=True))
    weight = (by_process / np.maximum(by_process.max(axis=1, keepdims=True), 1e-24)) ** SHARPNESS
    shares = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-24)
    return np.asarray(np.tanh(ACTIVITY_OF_A_DRIVE * length) * shares, dtype=np.float64)


def interacting_drive(world: World, first: Floats, second: Floats) -> Floats:
    """Return the (N, R) joint drive of two (N, R) drives; one alone is left as it is.

    With a, b the process activities of the two: each drive grows by sum(synergy * a b) and shrinks by the
    share that the other hides; what only both together do is added.
    """
    interplay = world.interplay
    one, other = process_activity(world, first), process_activity(world, second)
    both = one[:, :, None] * other[:, None, :]
    gain = 1.0 + np.einsum("npq,pq->n", both, interplay.synergy)
    left_of_first = gain - np.einsum("npq,pq->n", both, interplay.hidden)
    left_of_second = gain - np.einsum("npq,qp->n", both, interplay.hidden)
    emergent = np.einsum("npq,pqr->nr", both, interplay.emergent)
    return np.asarray(left_of_first[:, None] * first + left_of_second[:, None] * second + emergent)


def loss_in_a_process(world: World, genes: Integers) -> Floats:
    """Return the (N, R) drive of losing genes; the master of each process hit is weakened as well."""
    loss = influence_of_loss(world, genes)
    return loss - ANSWER_OF_A_MASTER * process_activity(world, loss) @ world.interplay.masters


def _compound_drive(world: World, conditions: CompoundConditions) -> Floats:
    action = 1.5 * hill_action(world, conditions)
    from_scaffold = action * scaffold_efficacy(world, conditions.compound)
    from_substituents = action * substituent_efficacy(world, conditions.compound)
    return interacting_drive(world, from_scaffold, from_substituents)


def _genetic_drive(world: World, conditions: GeneticConditions) -> Floats:
    first, second = (
        in_the_line(
            world,
            conditions,
            STRENGTH * drive_of_place(world, conditions, place, loss_in_a_process, GeneticEffects()),
        )
        for place in (0, 1)
    )
    return interacting_drive(world, first, second)


EPISTATIC = Regime(
    name="epistatic",
    summary="pairs interact through the processes they hit: synergy, suppression, new effects",
    compound_drive=_compound_drive,
    genetic_drive=_genetic_drive,
    respond=limited_answer,
)
