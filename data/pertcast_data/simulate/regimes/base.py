"""What a regime is: conditions in, log2 changes out.

A regime turns conditions into a drive on the regulators and the drive into log2 changes of genes; it knows
nothing of plates, cells or noise, and only declares how the experiment is laid out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pertcast_data.simulate.design import BALANCED, Design
from pertcast_data.simulate.genetics import GeneticConditions, GeneticEffects
from pertcast_data.simulate.world import Floats, World

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CompoundConditions:
    """N compound treatments: (N,) rows of the world's contexts and compounds, dose in uM, time in hours."""

    context: Integers
    compound: Integers
    dose: Floats
    time: Floats

    def __len__(self) -> int:
        """Return N, the number of conditions."""
        return len(self.context)


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
    design
        How wells and cells are laid out.
    """

    name: str
    summary: str
    compound_drive: Callable[[World, CompoundConditions], Floats]
    genetic_drive: Callable[[World, GeneticConditions], Floats]
    respond: Callable[[World, Floats], Floats]
    own_gene_change: tuple[float, float, float] = GeneticEffects().own_gene
    design: Design = BALANCED


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
