"""How far the estimated perfect score is from what the known truth of an atlas scores.

    python benchmarks/ceiling_bias.py [SEEDS]

Every third compound of small atlases is held out; the table shows means over seeds of the real score, of the
estimate's error, and the error's standard deviation between seeds.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast.evaluation.ceilings.ceiling import score_perfect
from pertcast.evaluation.from_store.replicates import replicate_tests
from pertcast.evaluation.from_store.store_truth import measure_responses
from pertcast.evaluation.held_out import HeldOut
from pertcast.evaluation.metrics import get_metric
from pertcast.evaluation.scores.score_board import score_conditions
from pertcast.evaluation.units import lay_out_units
from pertcast_data.loading import pair_controls
from pertcast_data.simulate.atlas import Atlas, simulate_atlas
from pertcast_data.simulate.config import AtlasConfig
from pertcast_data.store import ExpressionStore, create_store

CASES = (("linear", 1.0, 2), ("linear", 3.0, 3), ("saturating", 1.0, 5), ("epistatic", 1.0, 5))
METRICS = (
    "pearson_delta", "pearson_delta_top20", "pearson_delta_pert", "r2", "mse", "centroid_accuracy",
    "discrimination_cosine", "responders_pr_auc",
)  # fmt: skip


def make_atlas(regime: str, noise: float, n_plates: int, seed: int) -> Atlas:
    """Simulate 30 compounds at three doses in two cell lines, 150 genes."""
    return simulate_atlas(
        AtlasConfig(
            regime=regime, noise=noise, n_plates=n_plates, seed=seed, n_genes=150, n_compounds=30,
            n_contexts=2, n_unprofiled=0, n_knockouts=4, n_pairs=1, n_cells=100, times=(24.0,),
        )
    )  # fmt: skip


def store_wells(atlas: Atlas, path: Path) -> ExpressionStore:
    """Return the atlas's wells as a store."""
    return create_store(
        path,
        obs=atlas.wells.rename({"plate": "batch_id"}),
        var=pl.DataFrame({"gene_id": [f"g{i}" for i in range(atlas.intensities.shape[1])]}),
        batches=[atlas.intensities],
        measure="expression",
        normalisation="log2_intensity",
    )


def scores(atlas: Atlas, store: ExpressionStore) -> NDArray[Any]:
    """Return (metrics, 2) mean scores of the known truth, and as estimated from replicates."""
    pairing, reader = pair_controls(store), store.reader()
    controls, n_genes = pairing.means(reader), store.n_genes
    names = store.obs["pert_id"].to_numpy()
    is_test = np.isin(names, np.array(sorted(set(names[~store.is_control]))[::3]))
    training = lay_out_units(store, np.flatnonzero(~is_test & ~store.is_control), pairing)
    seen = measure_responses(training, reader, n_genes, pairing, controls).truth
    units = lay_out_units(store, np.flatnonzero(is_test), pairing)
    measured = measure_responses(units, reader, n_genes, pairing, controls)
    lines, pool = np.unique(units.conditions["cell_iname"].to_numpy(), return_inverse=True)
    line = training.conditions["cell_iname"].to_numpy()
    held = HeldOut(
        conditions=units.conditions,
        genes=store.genes,
        truth=measured.truth,
        control=measured.control,
        train_perturbed_mean=np.stack([seen[line == each].mean(axis=0) for each in lines]),
        train_mean_index=pool,
        pool=pool,
        cluster=np.unique(units.conditions["pert_id"].to_numpy(), return_inverse=True)[1],
        own_gene=np.full((units.n_conditions, 1), -1),
        tests=replicate_tests(units, reader, pairing, controls, n_genes),
    )
    place = {name: i for i, name in enumerate(atlas.wells_truth.condition_ids)}
    true = atlas.wells_truth.response[[place[name] for name in units.conditions["condition_id"]]]
    metrics = [get_metric(name) for name in METRICS]
    assert measured.noise is not None
    real = score_conditions(true, held, metrics=metrics)
    estimated = score_perfect(held, measured.noise, metrics=metrics)
    return np.array([[np.nanmean(real[name]), np.nanmean(estimated[name])] for name in METRICS])


def main(n_seeds: int) -> None:
    """Print one table a case."""
    for regime, noise, n_plates in CASES:
        found = []
        for seed in range(n_seeds):
            atlas = make_atlas(regime, noise, n_plates, seed)
            with tempfile.TemporaryDirectory() as folder:
                found.append(scores(atlas, store_wells(atlas, Path(folder) / "store")))
        real, error = np.array(found)[:, :, 0], np.diff(np.array(found), axis=2)[:, :, 0]
        print(f"\n{regime}, noise {noise:g}, {n_plates} replicates")
        for i, name in enumerate(METRICS):
            print(
                f"  {name:24s} {real[:, i].mean():7.3f} {error[:, i].mean():+.3f} ({error[:, i].std():.3f})"
            )


if __name__ == "__main__":
    warnings.simplefilter("ignore", RuntimeWarning)
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 6)
