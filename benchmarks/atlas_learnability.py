"""How much of the atlas can be learned: ridge on fingerprints and on co-expression beside the oracle.

Prints the tables of docs/atlas.md: `python benchmarks/atlas_learnability.py` (half a minute on one core).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pertcast_data.compounds import morgan_fingerprints
from pertcast_data.simulate import REGIMES, Atlas, AtlasConfig, simulate_atlas
from pertcast_data.simulate import cells as cell_screen
from pertcast_data.simulate import wells as well_screen

Floats = NDArray[np.float64]
SEEDS = range(5)
FOLDS = 4
PENALTIES = (1.0, 3.0, 10.0, 100.0, 1000.0)


def r2(predicted: Floats, target: Floats, mean: Floats, counted: NDArray[np.bool_]) -> float:
    left = ((predicted - target) ** 2)[counted].sum()
    return float(1 - left / ((target - mean) ** 2)[counted].sum())


def ridge_r2(features: Floats, target: Floats, test: NDArray[np.bool_], counted: NDArray[np.bool_]) -> float:
    """Return the held-out R2 of the best penalty, against the training mean."""
    train = ~test
    mean_x, mean_y = features[train].mean(axis=0), target[train].mean(axis=0)
    centred, gap = features[train] - mean_x, target[train] - mean_y
    gram, cross, unit = centred.T @ centred, centred.T @ gap, np.eye(features.shape[1])
    fits = (np.linalg.solve(gram + penalty * unit, cross) for penalty in PENALTIES)
    return max(
        r2((features[test] - mean_x) @ fit + mean_y, target[test], mean_y, counted[test]) for fit in fits
    )


def compounds(atlas: Atlas) -> tuple[float, float, float]:
    """Return (ridge, ridge on shuffled chemistry, oracle) R2 on held-out compounds."""
    conditions = well_screen.plan_conditions(atlas.config)
    plan = well_screen.plan_wells(atlas.config, conditions, atlas.world.contexts.names)
    measured = well_screen.measured_responses(plan, atlas.intensities, len(conditions.context)).astype(float)
    bits = morgan_fingerprints(atlas.world.library.smiles[: atlas.config.n_compounds]) / 5
    lines = np.eye(atlas.config.n_contexts)[conditions.context]
    rest = np.column_stack([np.log10(conditions.dose), np.log2(conditions.time), lines])
    random = np.random.default_rng(0)
    order, mixed = random.permutation(len(bits)), bits[random.permutation(len(bits))]
    everything = np.ones_like(measured, dtype=bool)
    rows = []
    for fold in range(FOLDS):
        test = np.isin(conditions.compound, order[fold::FOLDS])
        mean = measured[~test].mean(axis=0)
        ridges = [
            ridge_r2(np.hstack([table[conditions.compound], rest]), measured, test, everything)
            for table in (bits, mixed)
        ]
        rows.append((*ridges, r2(atlas.wells_truth.response[test], measured[test], mean, everything[test])))
    return tuple(np.mean(rows, axis=0))


def knockouts(atlas: Atlas) -> tuple[float, float]:
    """Return (ridge on co-expression, oracle) R2 on held-out single knock-outs, lost genes left out."""
    conditions = cell_screen.plan_knockouts(atlas.config, atlas.world)
    plan = cell_screen.plan_cells(atlas.config, conditions)
    measured = cell_screen.measured_responses(plan, atlas.counts, conditions).astype(float)
    single = conditions.genes[:, 1] < 0
    genes, measured, truth = conditions.genes[single, 0], measured[single], atlas.cells_truth.response[single]
    counted = np.ones_like(measured, dtype=bool)
    counted[np.arange(len(genes)), genes] = False
    order = np.random.default_rng(0).permutation(len(genes))
    rows = []
    for fold in range(FOLDS):
        test = np.isin(np.arange(len(genes)), order[fold::FOLDS])
        mean = measured[~test].mean(axis=0)
        _, sizes, axes = np.linalg.svd(measured[~test] - mean, full_matrices=False)
        loadings = axes[:16].T * sizes[:16]
        embedded = (loadings / loadings.std())[genes]
        oracle = r2(truth[test], measured[test], mean, counted[test])
        rows.append((ridge_r2(embedded, measured, test, counted), oracle))
    return tuple(np.mean(rows, axis=0))


def main() -> None:
    print("regime      seed  wells: share  ridge  shuffled  oracle   cells: share  ridge  oracle")
    for regime in REGIMES:
        for seed in SEEDS:
            atlas = simulate_atlas(AtlasConfig(regime=regime, seed=seed))
            honest, shuffled, oracle = compounds(atlas)
            genetic, ceiling = knockouts(atlas)
            share = atlas.wells_truth.explainable_share, atlas.cells_truth.explainable_share
            print(
                f"{regime:<12}{seed:>4}{share[0]:>14.3f}{honest:>7.3f}{shuffled:>10.3f}{oracle:>8.3f}"
                f"{share[1]:>15.3f}{genetic:>7.3f}{ceiling:>8.3f}"
            )


if __name__ == "__main__":
    main()
