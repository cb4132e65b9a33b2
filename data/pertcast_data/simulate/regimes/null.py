"""`null`: perturbations do nothing at all. Whatever a model finds here, it made up."""

from __future__ import annotations

import numpy as np

from pertcast_data.simulate.genetics import GeneticConditions
from pertcast_data.simulate.regimes.base import CompoundConditions, Regime
from pertcast_data.simulate.world import Floats, World


def _no_drive(world: World, conditions: CompoundConditions | GeneticConditions) -> Floats:
    return np.zeros((len(conditions), world.network.n_regulators))


def _no_answer(world: World, drive: Floats) -> Floats:
    return np.zeros((len(drive), world.network.n_genes))


NULL = Regime(
    name="null",
    summary="perturbations do nothing at all: there is nothing to learn",
    compound_drive=_no_drive,
    genetic_drive=_no_drive,
    respond=_no_answer,
    own_gene_change=(0.0, 0.0, 0.0),
)
