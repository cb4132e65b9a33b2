"""Simulate a whole atlas from one hidden world: wells, cells, signatures, networks, sensitivity and truth.

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
from pertcast_data.simulate import signatures as signature_screen
from pertcast_data.simulate import wells as well_screen
from pertcast_data.simulate.config import AtlasConfig
from pertcast_data.simulate.networks import ListedNetwork, list_networks
from pertcast_data.simulate.regimes import Regime, get_regime
from pertcast_data.simulate.responses import (
    compound_changes,
    compound_ids,
    genetic_changes,
    genetic_ids,
    library_changes,
)
from pertcast_data.simulate.sensitivity import Sensitivity, simulate_sensitivity
from pertcast_data.simulate.truth import Truth, build_truth
from pertcast_data.simulate.world import World, build_world


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
    signatures, scores
        Table of S genetic signatures and their (S, L) float32 moderated z-scores.
    landmarks
        (L,) int64, the genes that signatures measure.
    wells_truth, cells_truth, signatures_truth
        True responses of the measured conditions: log2 units, log1p(CP10k) units, z-scores.
    knockout_log2_change
        (conditions, G) float32 log2 change behind `cells_truth`, before counting and scaling.
    library_truth
        Condition ids and true responses of every library compound at the highest dose and longest time.
    networks
        What databases list of each layer of connections between genes.
    sensitivity
        IC50 of the library, tied to one pathway.
    """

    config: AtlasConfig
    world: World
    wells: pl.DataFrame
    intensities: NDArray[np.float32]
    cells: pl.DataFrame
    counts: Any
    signatures: pl.DataFrame
    scores: NDArray[np.float32]
    landmarks: NDArray[np.int64]
    wells_truth: Truth
    cells_truth: Truth
    signatures_truth: Truth
    knockout_log2_change: NDArray[np.float32]
    library_truth: tuple[tuple[str, ...], NDArray[np.float32]]
    networks: tuple[ListedNetwork, ...]
    sensitivity: Sensitivity


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
        type_coupling=config.type_coupling,
    )
    regime = get_regime(config.regime)
    wells, intensities, wells_truth = _simulate_wells(config, world, regime, progress)
    cells, counts, cells_truth, change = _simulate_cells(config, world, regime, progress)
    signatures, scores, landmarks, signatures_truth = _simulate_signatures(config, world, regime, progress)
    library = library_changes(config, world, regime)
    return Atlas(
        config=config,
        world=world,
        wells=wells,
        intensities=intensities,
        cells=cells,
        counts=counts,
        signatures=signatures,
        scores=scores,
        landmarks=landmarks,
        wells_truth=wells_truth,
        cells_truth=cells_truth,
        signatures_truth=signatures_truth,
        knockout_log2_change=change,
        library_truth=library,
        networks=list_networks(config, world.network),
        sensitivity=simulate_sensitivity(config, world, library[1]),
    )


def _simulate_wells(
    config: AtlasConfig, world: World, regime: Regime, progress: ProgressCallback
) -> tuple[pl.DataFrame, NDArray[np.float32], Truth]:
    conditions = well_screen.plan_conditions(config)
    response = compound_changes(config, world, regime, conditions)
    plan = well_screen.plan_wells(config, conditions, world.contexts.names)
    intensities = well_screen.measure_wells(config, world, plan, response, progress)
    measured = well_screen.measured_responses(plan, intensities, len(response))
    truth = build_truth(compound_ids(world, conditions), response, measured)
    return well_screen.well_table(plan, conditions, world), intensities, truth


def _simulate_cells(
    config: AtlasConfig, world: World, regime: Regime, progress: ProgressCallback
) -> tuple[pl.DataFrame, Any, Truth, NDArray[np.float32]]:
    conditions = cell_screen.plan_knockouts(config, world)
    change = genetic_changes(config, world, regime, conditions)
    plan = cell_screen.plan_cells(config, conditions)
    model = cell_screen.build_cell_model(config, world)
    counts = cell_screen.count_molecules(config, model, plan, change, progress)
    measured = cell_screen.measured_responses(plan, counts, conditions)
    expected = cell_screen.expected_responses(model, conditions, change)
    truth = build_truth(genetic_ids(world, conditions, cell_screen.SCREEN_HOURS), expected, measured)
    return cell_screen.cell_table(plan, conditions, world), counts, truth, change


def _simulate_signatures(
    config: AtlasConfig, world: World, regime: Regime, progress: ProgressCallback
) -> tuple[pl.DataFrame, NDArray[np.float32], NDArray[np.int64], Truth]:
    plan = signature_screen.plan_signatures(config, world)
    change = genetic_changes(config, world, regime, plan.conditions, plan.landmarks)
    measured = signature_screen.measure_signatures(config, world, plan, change, progress)
    true = signature_screen.true_scores(config, world, plan, change)
    names = genetic_ids(world, plan.conditions, signature_screen.SIGNATURE_HOURS)
    table = signature_screen.signature_table(plan, measured, world)
    return table, measured.z, plan.landmarks, build_truth(names, true, measured.z)
