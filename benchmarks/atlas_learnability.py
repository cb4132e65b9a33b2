"""How much of the atlas can be learned in each regime: what is simple, beside the oracle.

Prints the table of docs/atlas.md: `python benchmarks/atlas_learnability.py --seeds 0,1,2` (some ten seconds a
regime and seed on one core). Every figure is a held-out R2 against the training mean, four folds.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray
from pertcast_data.compounds import morgan_fingerprints
from pertcast_data.simulate import REGIMES, Atlas, AtlasConfig, simulate_atlas
from pertcast_data.simulate import cells as cell_screen
from pertcast_data.simulate import wells as well_screen
from scipy import sparse

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]
FOLDS = 4
PENALTIES = (1.0, 3.0, 10.0, 100.0, 1000.0, 10_000.0)
COEXPRESSION_AXES, NETWORK_AXES = 16, 24
CONNECTIONS = ("protein_interactions", "complexes", "pathways")
SPREAD = 0.8


def r2(predicted: Floats, target: Floats, mean: Floats, counted: Booleans) -> float:
    left = ((predicted - target) ** 2)[counted].sum()
    return float(1 - left / ((target - mean) ** 2)[counted].sum())


def ridge_predictions(features: Floats, target: Floats, test: Booleans) -> list[Floats]:
    """Return the held-out predictions of each penalty."""
    mean_x, mean_y = features[~test].mean(axis=0), target[~test].mean(axis=0)
    centred, gap = features[~test] - mean_x, target[~test] - mean_y
    gram, cross, unit = centred.T @ centred, centred.T @ gap, np.eye(features.shape[1])
    fits = [np.linalg.solve(gram + penalty * unit, cross) for penalty in PENALTIES]
    return [(features[test] - mean_x) @ fit + mean_y for fit in fits]


def ridge_r2(features: Floats, target: Floats, test: Booleans, counted: Booleans) -> float:
    """Return the held-out R2 of the best penalty: flattering, so that what is left is not for want of it."""
    mean = target[~test].mean(axis=0)
    predictions = ridge_predictions(features, target, test)
    return max(r2(predicted, target[test], mean, counted[test]) for predicted in predictions)


def folds(groups: NDArray[np.int64], n_groups: int) -> list[Booleans]:
    order = np.random.default_rng(0).permutation(n_groups)
    return [np.isin(groups, order[fold::FOLDS]) for fold in range(FOLDS)]


def compounds(atlas: Atlas) -> tuple[float, ...]:
    """Return (ridge, ridge on shuffled chemistry, oracle) R2 on held-out compounds."""
    conditions = well_screen.plan_conditions(atlas.config)
    plan = well_screen.plan_wells(atlas.config, conditions, atlas.world.contexts.names)
    measured = well_screen.measured_responses(plan, atlas.intensities, len(conditions)).astype(float)
    bits = morgan_fingerprints(atlas.world.library.smiles[: atlas.config.n_compounds]) / 5
    mixed = bits[np.random.default_rng(0).permutation(len(bits))]
    lines = np.eye(atlas.config.n_contexts)[conditions.context]
    rest = np.column_stack([np.log10(conditions.dose), np.log2(conditions.time), lines])
    features = [np.hstack([table[conditions.compound], rest]) for table in (bits, mixed)]
    everything, truth = np.ones_like(measured, dtype=bool), atlas.wells_truth.response
    rows = []
    for test in folds(conditions.compound, len(bits)):
        mean = measured[~test].mean(axis=0)
        ridges = [ridge_r2(table, measured, test, everything) for table in features]
        rows.append((*ridges, r2(truth[test], measured[test], mean, everything[test])))
    return tuple(np.mean(rows, axis=0))


def network_axes(atlas: Atlas) -> Floats:
    """Return (G, axes) positions of genes in the listed networks of connections: a diffusion's main axes."""
    n_genes = atlas.config.n_genes
    joined = sparse.csr_matrix((n_genes, n_genes))
    for listed in atlas.networks:
        if listed.name in CONNECTIONS:
            ends = (listed.edges[:, 0], listed.edges[:, 1])
            layer = sparse.csr_matrix((np.ones(len(ends[0])), ends), shape=(n_genes, n_genes))
            joined = joined + ((layer + layer.T) > 0)
    scale = sparse.diags(np.maximum(np.asarray(joined.sum(axis=1)).ravel(), 1.0) ** -0.5)
    steps = (scale @ joined @ scale).toarray()
    reach, axes = np.linalg.eigh(np.linalg.inv(np.eye(n_genes) - SPREAD * steps))
    positions = (axes * reach)[:, -NETWORK_AXES:]
    return positions / positions.std()


def measured_genetics(atlas: Atlas) -> tuple[NDArray[np.int64], Floats, Booleans]:
    """Return (N, 2) genes, measured responses, and what counts: all but the perturbed genes themselves."""
    conditions = cell_screen.plan_knockouts(atlas.config, atlas.world)
    plan = cell_screen.plan_cells(atlas.config, conditions)
    measured = cell_screen.measured_responses(plan, atlas.counts, conditions).astype(float)
    counted = np.ones_like(measured, dtype=bool)
    for genes in conditions.genes.T:
        rows = np.flatnonzero(genes >= 0)
        counted[rows, genes[rows]] = False
    return conditions.genes, measured, counted


def coexpression_axes(measured: Floats) -> Floats:
    """Return (G, axes) loadings of genes on the main axes of responses."""
    _, sizes, axes = np.linalg.svd(measured - measured.mean(axis=0), full_matrices=False)
    loadings = axes[:COEXPRESSION_AXES].T * sizes[:COEXPRESSION_AXES]
    return loadings / max(loadings.std(), 1e-12)


def knockouts(atlas: Atlas) -> tuple[float, ...]:
    """Return (ridge on co-expression, ridge on networks, oracle) R2 on held-out single knock-outs."""
    genes, measured, counted = measured_genetics(atlas)
    single = genes[:, 1] < 0
    genes, measured, counted = genes[single, 0], measured[single], counted[single]
    truth, positions = atlas.cells_truth.response[single], network_axes(atlas)
    rows = []
    for test in folds(np.arange(len(genes)), len(genes)):
        tables = (coexpression_axes(measured[~test]), positions)
        ridges = [ridge_r2(table[genes], measured, test, counted) for table in tables]
        mean = measured[~test].mean(axis=0)
        rows.append((*ridges, r2(truth[test], measured[test], mean, counted[test])))
    return tuple(np.mean(rows, axis=0))


def pairs(atlas: Atlas) -> tuple[float, ...]:
    """Return (additive rule, ridge on the genes, oracle) R2 on held-out pairs; all singles are known."""
    genes, measured, counted = measured_genetics(atlas)
    single = np.flatnonzero(genes[:, 1] < 0)
    is_pair = genes[:, 1] >= 0
    row_of = dict(zip(genes[single, 0].tolist(), single.tolist(), strict=True))
    one_hot = np.zeros((len(genes), atlas.config.n_genes))
    for place in genes.T:
        rows = np.flatnonzero(place >= 0)
        one_hot[rows, place[rows]] = 1.0
    one_hot = one_hot[:, genes[single, 0]]
    additive = np.zeros_like(measured)
    for row in np.flatnonzero(is_pair):
        additive[row] = sum(measured[row_of[gene]] for gene in genes[row].tolist())
    number = np.where(is_pair, np.cumsum(is_pair) - 1, -1)
    rows = []
    for test in folds(number, int(is_pair.sum())):
        mean = measured[is_pair & ~test].mean(axis=0)
        known, counts = measured[test], counted[test]
        ridge = max(r2(found, known, mean, counts) for found in ridge_predictions(one_hot, measured, test))
        rule = r2(additive[test], known, mean, counts)
        rows.append((rule, ridge, r2(atlas.cells_truth.response[test], known, mean, counts)))
    return tuple(np.mean(rows, axis=0))


def main() -> None:
    """Print one line a regime and seed, as a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0,1,2", help="seeds, with commas between")
    asked = parser.parse_args()
    print("| regime | seed | compounds: share | ridge | shuffled | oracle | cells: share ", end="")
    print("| single genes: co-expression | networks | oracle | pairs: additive | ridge | oracle |")
    print("|---|---|" + "---|" * 11)
    for regime in REGIMES:
        for seed in map(int, asked.seeds.split(",")):
            sizes = {"n_knockouts": 100, "n_pairs": 100, "n_cells": 20_000}
            atlas = simulate_atlas(AtlasConfig(regime=regime, seed=seed, **sizes))
            shares = atlas.wells_truth.explainable_share, atlas.cells_truth.explainable_share
            found = (shares[0], *compounds(atlas), shares[1], *knockouts(atlas), *pairs(atlas))
            figures = (f"{figure + 0.0:.3f}".replace("0.", ".", 1) for figure in found)
            print(f"| {regime} | {seed} | {' | '.join(figures)} |", flush=True)


if __name__ == "__main__":
    main()
