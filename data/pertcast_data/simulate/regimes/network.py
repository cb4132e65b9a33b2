"""`network`: what a lost gene does follows from its place in the interactome; kinds are closely coupled.

The signal of the gene spreads along interactions until it meets regulators, so that neighbours resemble one
another, in modules that co-expression does not connect.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import sparse

from pertcast_data.simulate.genetics import GeneticConditions, GeneticEffects
from pertcast_data.simulate.regimes.answers import saturating_answer
from pertcast_data.simulate.regimes.base import Integers, Regime
from pertcast_data.simulate.regimes.drives import in_the_line, influence_of_loss, summed_drive
from pertcast_data.simulate.regimes.saturating import hill_drive
from pertcast_data.simulate.world import Floats, World

RESTART: Final = 0.25
ROUNDS: Final = 20
STRENGTH: Final = 0.8
SHARE_OF_MODULES: Final = 0.25
PROMINENCE: Final = (0.6, 1.4)
CLOSELY_COUPLED: Final = GeneticEffects(coupling=(1.0, 0.95, 0.9))


def spread(world: World, genes: Integers) -> Floats:
    """Return the (N, R) signal of genes at the regulators: random walk with restart on the interactome.

    s = 0.25 e + 0.75 D^-1/2 A D^-1/2 s, twenty rounds from s = 0.25 e; two (G, N) tables are held.
    """
    interactions = world.network.interactome.interactions
    root = np.sqrt(np.maximum(np.asarray(interactions.sum(axis=1)).ravel(), 1e-12))
    scale = sparse.diags(1.0 / root)
    step = sparse.csr_matrix(scale @ interactions @ scale)
    start = np.zeros((world.network.n_genes, len(genes)))
    start[genes, np.arange(len(genes))] = RESTART
    signal = start.copy()
    for _ in range(ROUNDS):
        signal = step @ signal
        signal *= 1.0 - RESTART
        signal += start
    return np.asarray(signal[world.network.regulators].T, dtype=np.float64)


def loss_along_the_network(world: World, genes: Integers) -> Floats:
    """Return the (N, R) drive of losing genes: its direction is the signal's, hubs act more strongly.

    A quarter of the gene's action on its own modules is added; an orphan of the interactome has only that.
    """
    degree = world.network.interactome.degree
    prominence = np.clip((degree[genes] / max(degree.mean(), 1.0)) ** 0.4, *PROMINENCE)
    signal = spread(world, genes)
    length = np.linalg.norm(signal, axis=1, keepdims=True)
    direction = np.divide(signal, length, out=np.zeros_like(signal), where=length > 1e-9)
    own_modules = SHARE_OF_MODULES * influence_of_loss(world, genes)
    return np.asarray(own_modules - prominence[:, None] * direction, dtype=np.float64)


def _genetic_drive(world: World, conditions: GeneticConditions) -> Floats:
    drive = STRENGTH * summed_drive(world, conditions, loss_along_the_network, CLOSELY_COUPLED)
    return in_the_line(world, conditions, drive)


NETWORK = Regime(
    name="network",
    summary="a gene's effect follows from its place in the interactome; kinds are closely coupled",
    compound_drive=hill_drive,
    genetic_drive=_genetic_drive,
    respond=saturating_answer,
)
