"""True log2 changes of an atlas' conditions, in blocks that bound memory, and the conditions' names."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertcast_data.simulate.config import AtlasConfig
from pertcast_data.simulate.genetics import GENETIC_KINDS, GeneticConditions
from pertcast_data.simulate.regimes import CompoundConditions, Regime, compound_response, genetic_response
from pertcast_data.simulate.world import World
from pertcast_data.vocabulary import PAIR_SEPARATOR, condition_id

VALUES_PER_BLOCK: Final = 4_000_000


def _blocks(n_conditions: int, n_genes: int) -> list[slice]:
    step = max(VALUES_PER_BLOCK // n_genes, 1)
    return [slice(start, start + step) for start in range(0, n_conditions, step)]


def compound_changes(
    config: AtlasConfig, world: World, regime: Regime, conditions: CompoundConditions
) -> NDArray[np.float32]:
    """Return the (N, G) true log2 changes of compound treatments."""
    total, n_genes = len(conditions.context), world.network.n_genes
    changes = np.empty((total, n_genes), dtype=np.float32)
    for rows in _blocks(total, n_genes):
        block = CompoundConditions(
            conditions.context[rows], conditions.compound[rows], conditions.dose[rows], conditions.time[rows]
        )
        changes[rows] = config.effect_size * compound_response(regime, world, block)
    return changes


def genetic_changes(
    config: AtlasConfig,
    world: World,
    regime: Regime,
    conditions: GeneticConditions,
    measured: NDArray[np.int64] | slice = slice(None),
) -> NDArray[np.float32]:
    """Return the true log2 changes of genetic perturbations: (N, G), or (N, L) of the L `measured` genes."""
    n_genes = world.network.n_genes
    n_measured = len(np.arange(n_genes)[measured])
    changes = np.empty((len(conditions), n_measured), dtype=np.float32)
    for rows in _blocks(len(conditions), n_genes):
        block = GeneticConditions(conditions.context[rows], conditions.genes[rows], conditions.kind[rows])
        changes[rows] = config.effect_size * genetic_response(regime, world, block)[:, measured]
    return changes


def library_changes(
    config: AtlasConfig, world: World, regime: Regime
) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """Return names and true changes of every library compound in every line, lines changing fastest.

    All at the highest dose and longest time.
    """
    n_compounds, n_contexts = len(world.library), config.n_contexts
    conditions = CompoundConditions(
        context=np.tile(np.arange(n_contexts), n_compounds),
        compound=np.repeat(np.arange(n_compounds), n_contexts),
        dose=np.full(n_compounds * n_contexts, max(config.doses)),
        time=np.full(n_compounds * n_contexts, max(config.times)),
    )
    return compound_ids(world, conditions), compound_changes(config, world, regime, conditions)


def compound_ids(world: World, conditions: CompoundConditions) -> tuple[str, ...]:
    """Return the names of compound conditions as a store gives them."""
    lines, pert_ids = world.contexts.names, world.library.pert_ids
    rows = zip(conditions.context, conditions.compound, conditions.dose, conditions.time, strict=True)
    return tuple(condition_id(lines[c], "trt_cp", pert_ids[p], float(d), float(t)) for c, p, d, t in rows)


def genetic_ids(world: World, conditions: GeneticConditions, hours: float) -> tuple[str, ...]:
    """Return the names of genetic conditions as a store gives them."""
    lines, symbols = world.contexts.names, world.network.gene_symbols
    names = [PAIR_SEPARATOR.join(symbols[g] for g in genes if g >= 0) for genes in conditions.genes]
    rows = zip(conditions.context, conditions.kind, names, strict=True)
    return tuple(condition_id(lines[c], GENETIC_KINDS[k], name, None, hours) for c, k, name in rows)
