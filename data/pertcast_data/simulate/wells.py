"""L1000-like wells: plates of one cell line and one time, vehicle wells on each, replicates over plates.

Technical noise enters here and only here: plate effects, well shifts and gene-wise measurement noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast_data.errors import ConfigError
from pertcast_data.progress import ProgressCallback
from pertcast_data.simulate.config import AtlasConfig
from pertcast_data.simulate.regimes import CompoundConditions, Integers, get_regime
from pertcast_data.simulate.streams import stream
from pertcast_data.simulate.world import World

PLATE_EFFECT: Final = 0.25
WELL_SHIFT: Final = 0.15
WELL_NOISE: Final = (0.25, 0.55)
PLATE_ROWS, PLATE_COLUMNS = 16, 24


@dataclass(frozen=True, slots=True)
class WellPlan:
    """Which condition sits in which well: (W,) arrays in the order of the wells' table.

    `condition` is -1 for a vehicle well; `plate` and `context` count from 0; `place` is on the plate.
    `plate_map` is (plates,): replicate plates of one map hold the same conditions.
    """

    condition: Integers
    plate: Integers
    context: Integers
    time: NDArray[np.float64]
    place: Integers
    plate_map: Integers
    plate_names: tuple[str, ...]


def plan_conditions(config: AtlasConfig) -> CompoundConditions:
    """Return every combination of cell line, compound, dose and time, in this order."""
    grid = product(range(config.n_contexts), range(config.n_compounds), config.doses, config.times)
    context, compound, dose, time = (np.asarray(column) for column in zip(*grid, strict=True))
    return CompoundConditions(context.astype(np.int64), compound.astype(np.int64), dose, time)


def plan_wells(config: AtlasConfig, conditions: CompoundConditions, lines: tuple[str, ...]) -> WellPlan:
    """Deal conditions to plate maps and every map to its replicate plates, each in its own random order."""
    random = stream(config.seed, "plates")
    capacity = config.wells_per_plate - config.dmso_per_plate
    if capacity < 1:
        raise ConfigError("wells_per_plate leaves no place beside the DMSO wells; lower dmso_per_plate.")
    rows: list[NDArray[np.int64]] = []
    facts: list[tuple[int, float, int]] = []
    names: list[str] = []
    n_maps = 0
    for context, time in product(range(config.n_contexts), config.times):
        members = np.flatnonzero((conditions.context == context) & (conditions.time == time))
        maps = _plate_maps(config, conditions, random.permutation(members), capacity)
        for map_number, replicate in product(range(len(maps)), range(config.n_plates)):
            vehicle = np.full(config.dmso_per_plate, -1, dtype=np.int64)
            rows.append(random.permutation(np.concatenate([maps[map_number], vehicle])))
            facts.append((context, time, n_maps + map_number))
            names.append(f"SIMPLATE_{lines[context]}_{time:g}H_M{map_number + 1:02d}_X{replicate + 1}")
        n_maps += len(maps)
    lengths = [len(row) for row in rows]
    return WellPlan(
        condition=np.concatenate(rows),
        plate=np.repeat(np.arange(len(rows)), lengths),
        context=np.repeat([fact[0] for fact in facts], lengths),
        time=np.repeat([fact[1] for fact in facts], lengths),
        place=np.concatenate([np.arange(length) for length in lengths]),
        plate_map=np.array([fact[2] for fact in facts], dtype=np.int64),
        plate_names=tuple(names),
    )


def _plate_maps(
    config: AtlasConfig, conditions: CompoundConditions, members: Integers, capacity: int
) -> list[Integers]:
    """Part conditions, given in random order, into plate maps; by compound where the design wants several."""
    fewest = get_regime(config.regime).design.plate_maps
    if fewest > 1:
        rank = stream(config.seed, "plate maps").permutation(config.n_compounds)
        members = members[np.argsort(rank[conditions.compound[members]], kind="stable")]
    return np.array_split(members, max(-(-len(members) // capacity), min(fewest, len(members))))


def measure_wells(
    config: AtlasConfig,
    world: World,
    plan: WellPlan,
    response: NDArray[np.float32],
    progress: ProgressCallback,
) -> NDArray[np.float32]:
    """Return the (W, G) float32 log2 intensities, rounded to 4 decimals as instruments export them.

    A well is basal expression of its line + response of its condition + plate effect + well shift + noise;
    treated wells also have the shift of their plate map, where the regime's design declares one.
    """
    random = stream(config.seed, "wells")
    n_genes = world.network.n_genes
    noise = random.uniform(*WELL_NOISE, size=n_genes).astype(np.float32)
    quality = random.normal(0.0, 1.0, size=n_genes).astype(np.float32)
    intensities = np.empty((len(plan.condition), n_genes), dtype=np.float32)
    of_treated = _treated_shifts(config, plan, n_genes)
    starts = np.searchsorted(plan.plate, np.arange(len(plan.plate_names) + 1))
    for plate in range(len(plan.plate_names)):
        wells = slice(int(starts[plate]), int(starts[plate + 1]))
        condition = plan.condition[wells]
        mean = world.contexts.basal[plan.context[wells]].astype(np.float32)
        treated = condition >= 0
        mean[treated] += response[condition[treated]] + of_treated[plan.plate_map[plate]]
        plate_effect = PLATE_EFFECT * random.standard_normal(n_genes, dtype=np.float32)
        shift = WELL_SHIFT * random.standard_normal((len(condition), 1), dtype=np.float32)
        technical = plate_effect + shift * quality
        technical += noise * random.standard_normal((len(condition), n_genes), dtype=np.float32)
        intensities[wells] = np.round(np.maximum(mean + config.noise * technical, 0.0), 4)
        progress(plate + 1, len(plan.plate_names), "plates")
    return intensities


def _treated_shifts(config: AtlasConfig, plan: WellPlan, n_genes: int) -> NDArray[np.float32]:
    """Return the (maps, G) log2 shift of treated wells that vehicle wells lack; 0 in a balanced design."""
    spread = np.float32(config.noise * get_regime(config.regime).design.treated_shift)
    n_maps = int(plan.plate_map.max()) + 1
    return spread * stream(config.seed, "treated wells").standard_normal((n_maps, n_genes), dtype=np.float32)


def well_table(plan: WellPlan, conditions: CompoundConditions, world: World) -> pl.DataFrame:
    """Return the wells' table with CMap's column names; doses of vehicle wells are null."""
    library, lines = world.library, world.contexts.names
    compound = np.where(plan.condition >= 0, conditions.compound[plan.condition], -1)
    dose = [None if row < 0 else float(conditions.dose[row]) for row in plan.condition]
    plates = [plan.plate_names[plate] for plate in plan.plate]
    places = [f"{chr(65 + place // PLATE_COLUMNS)}{place % PLATE_COLUMNS + 1:02d}" for place in plan.place]
    return pl.DataFrame(
        {
            "sig_id": [f"{plate}:{place}" for plate, place in zip(plates, places, strict=True)],
            "pert_id": ["DMSO" if row < 0 else library.pert_ids[row] for row in compound],
            "cmap_name": ["DMSO" if row < 0 else library.names[row] for row in compound],
            "pert_type": ["ctl_vehicle" if row < 0 else "trt_cp" for row in compound],
            "cell_iname": [lines[context] for context in plan.context],
            "pert_dose": pl.Series(dose, dtype=pl.Float64),
            "pert_dose_unit": [None if row < 0 else "uM" for row in compound],
            "pert_time": plan.time,
            "pert_time_unit": ["h"] * len(compound),
            "canonical_smiles": ["CS(C)=O" if row < 0 else library.smiles[row] for row in compound],
            "plate": plates,
            "rna_well": places,
        }
    )


def measured_responses(
    plan: WellPlan, intensities: NDArray[np.float32], n_conditions: int
) -> NDArray[np.float32]:
    """Return the (N, G) measured responses: well minus its plate's vehicle mean, averaged over replicates."""
    total = np.zeros((n_conditions, intensities.shape[1]), dtype=np.float32)
    counts = np.bincount(plan.condition[plan.condition >= 0], minlength=n_conditions)
    starts = np.searchsorted(plan.plate, np.arange(len(plan.plate_names) + 1))
    for start, stop in pairwise(starts):
        condition = plan.condition[start:stop]
        values = intensities[start:stop]
        treated = condition >= 0
        total[condition[treated]] += values[treated] - values[~treated].mean(axis=0)
    return np.asarray(total / counts[:, None].astype(np.float32), dtype=np.float32)
