"""Simulate a whole atlas: wells, cells, library, gene sets and truth from one hidden world.

The result is a pure function of the configuration: the same configuration gives the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.simulate import cells as cell_screen
from pertcast_data.simulate import wells as well_screen
from pertcast_data.simulate.config import AtlasConfig
from pertcast_data.simulate.genetics import GeneticConditions
from pertcast_data.simulate.regimes import (
    CompoundConditions,
    Regime,
    compound_response,
    genetic_response,
    get_regime,
)
from pertcast_data.simulate.truth import Truth, build_truth
from pertcast_data.simulate.world import World, build_world
from pertcast_data.vocabulary import PAIR_SEPARATOR, condition_id

_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Atlas:
    """A simulated atlas in memory.

    Attributes
    ----------
    config
        What it was made from.
    world
        The hidden truth: network, cell lines, chemistry.
    wells, intensities
        Table of W wells and their (W, G) float32 log2 intensities.
    cells, counts
        Table of N cells and their (N, G) CSR float32 raw counts.
    wells_truth, cells_truth
        True responses of the measured conditions, in log2 units and in log1p(CP10k) units.
    knockout_log2_change
        (conditions, G) float32 log2 change behind `cells_truth`, before counting and scaling.
    library_truth
        Condition ids and true responses of every library compound at the highest dose and longest time.
    """

    config: AtlasConfig
    world: World
    wells: pl.DataFrame
    intensities: NDArray[np.float32]
    cells: pl.DataFrame
    counts: Any
    wells_truth: Truth
    cells_truth: Truth
    knockout_log2_change: NDArray[np.float32]
    library_truth: tuple[tuple[str, ...], NDArray[np.float32]]


def simulate_atlas(config: AtlasConfig, progress: ProgressCallback = no_progress) -> Atlas:
    """Simulate an atlas; about a second on one core at the default size.

    Raises
    ------
    ConfigError
        If more distinct compounds are asked for than the fragments give.
    """
    world = build_world(
        config.seed,
        n_genes=config.n_genes,
        n_contexts=config.n_contexts,
        n_compounds=config.n_compounds,
        n_unprofiled=config.n_unprofiled,
        doses=config.doses,
        times=config.times,
    )
    regime = get_regime(config.regime)
    wells, intensities, wells_truth = _simulate_wells(config, world, regime, progress)
    cells, counts, cells_truth, change = _simulate_cells(config, world, regime, progress)
    return Atlas(
        config=config,
        world=world,
        wells=wells,
        intensities=intensities,
        cells=cells,
        counts=counts,
        wells_truth=wells_truth,
        cells_truth=cells_truth,
        knockout_log2_change=change,
        library_truth=_library_truth(config, world, regime),
    )


def _simulate_wells(
    config: AtlasConfig, world: World, regime: Regime, progress: ProgressCallback
) -> tuple[pl.DataFrame, NDArray[np.float32], Truth]:
    conditions = well_screen.plan_conditions(config)
    response = _compound_changes(config, world, regime, conditions)
    plan = well_screen.plan_wells(config, conditions, world.contexts.names)
    intensities = well_screen.measure_wells(config, world, plan, response, progress)
    measured = well_screen.measured_responses(plan, intensities, len(response))
    truth = build_truth(_compound_ids(world, conditions), response, measured)
    return well_screen.well_table(plan, conditions, world), intensities, truth


def _simulate_cells(
    config: AtlasConfig, world: World, regime: Regime, progress: ProgressCallback
) -> tuple[pl.DataFrame, Any, Truth, NDArray[np.float32]]:
    conditions = cell_screen.plan_knockouts(config, world)
    change = (config.effect_size * genetic_response(regime, world, conditions)).astype(np.float32)
    plan = cell_screen.plan_cells(config, conditions)
    model = cell_screen.build_cell_model(config, world)
    counts = cell_screen.count_molecules(config, model, plan, change, progress)
    measured = cell_screen.measured_responses(plan, counts, conditions)
    expected = cell_screen.expected_responses(model, conditions, change)
    truth = build_truth(_knockout_ids(world, conditions), expected, measured)
    return cell_screen.cell_table(plan, conditions, world), counts, truth, change


def _compound_changes(
    config: AtlasConfig, world: World, regime: Regime, conditions: CompoundConditions
) -> NDArray[np.float32]:
    """Return the (N, G) true log2 changes, worked out in blocks of conditions to bound memory."""
    total = len(conditions.context)
    changes = np.empty((total, world.network.n_genes), dtype=np.float32)
    for start in range(0, total, _BLOCK):
        rows = slice(start, start + _BLOCK)
        block = CompoundConditions(
            conditions.context[rows], conditions.compound[rows], conditions.dose[rows], conditions.time[rows]
        )
        changes[rows] = config.effect_size * compound_response(regime, world, block)
    return changes


def _library_truth(
    config: AtlasConfig, world: World, regime: Regime
) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    n_compounds, n_contexts = len(world.library), config.n_contexts
    conditions = CompoundConditions(
        context=np.tile(np.arange(n_contexts), n_compounds),
        compound=np.repeat(np.arange(n_compounds), n_contexts),
        dose=np.full(n_compounds * n_contexts, max(config.doses)),
        time=np.full(n_compounds * n_contexts, max(config.times)),
    )
    return _compound_ids(world, conditions), _compound_changes(config, world, regime, conditions)


def _compound_ids(world: World, conditions: CompoundConditions) -> tuple[str, ...]:
    lines, pert_ids = world.contexts.names, world.library.pert_ids
    rows = zip(conditions.context, conditions.compound, conditions.dose, conditions.time, strict=True)
    return tuple(condition_id(lines[c], "trt_cp", pert_ids[p], float(d), float(t)) for c, p, d, t in rows)


def _knockout_ids(world: World, conditions: GeneticConditions) -> tuple[str, ...]:
    lines, symbols = world.contexts.names, world.network.gene_symbols
    names = [PAIR_SEPARATOR.join(symbols[g] for g in genes if g >= 0) for genes in conditions.genes]
    rows = zip(conditions.context, names, strict=True)
    return tuple(
        condition_id(lines[context], "trt_xpr", name, None, cell_screen.SCREEN_HOURS)
        for context, name in rows
    )
