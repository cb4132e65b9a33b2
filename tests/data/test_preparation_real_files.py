"""Preparation of real files: plates of L1000 wells, and cells with raw counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pertcast_data.ingest import ingest
from pertcast_data.preparation import (
    GeneSubset,
    LogNormalise,
    RobustZ,
    VariableGenes,
    fit_preparation,
    preparation_config,
    prepare_store,
)
from pertcast_data.splits import Split, make_split
from pertcast_data.store import ExpressionStore
from scipy.stats import median_abs_deviation

SharedData = Callable[[str], Path]


def test_wells_of_ht115_are_measured_against_the_dmso_of_their_plate(
    shared_data: SharedData, tmp_path: Path
) -> None:
    ingest([shared_data("l1000/ht115_level3_compounds.h5ad")], tmp_path / "store")
    store = ExpressionStore.open(tmp_path / "store")
    split = make_split(store, "unseen_compound")
    preparation = fit_preparation(store, split, 0, preparation_config([RobustZ()]))
    prepared = prepare_store(store, preparation, tmp_path / "out", split)
    assert (prepared.n_plates, prepared.n_rows_by_line) == (2, 0)
    obs = prepared.store.obs
    for plate in obs["batch_id"].unique():
        own = ((obs["batch_id"] == plate) & obs["is_control"]).arg_true().to_numpy()
        scores = prepared.store.reader().dense(own.astype(np.int64))
        assert np.abs(np.median(scores, axis=0)).max() < 1e-5
        spread = 1.4826 * median_abs_deviation(scores, axis=0)
        assert spread.max() < 1 + 1e-4 and np.median(spread) > 0.999


def test_genes_of_cells_are_chosen_on_training_cells_and_keep_their_ids(
    shared_data: SharedData, tmp_path: Path
) -> None:
    ingest([shared_data("perturb_seq/marson_cd4_small.h5ad")], tmp_path / "store")
    store = ExpressionStore.open(tmp_path / "store")
    split = make_split(store, "unseen_perturbation")
    config = preparation_config([LogNormalise(target_sum="median"), VariableGenes(n_top=300)])
    chosen = [set(fit_preparation(store, split, fold, config).genes) for fold in range(2)]
    assert all(len(genes) == 300 for genes in chosen)
    assert chosen[0] != chosen[1] and len(chosen[0] & chosen[1]) > 200
    prepared = prepare_store(store, fit_preparation(store, split, 0, config), tmp_path / "out", split)
    made = prepared.store
    assert made.info.layout == "csr" and set(made.genes) == chosen[0]
    assert set(made.var["gene_id"]) <= set(store.var["gene_id"])
    libraries = np.expm1(made.reader().dense(np.arange(made.n_rows)).astype(np.float64)).sum(axis=1)
    assert (libraries <= median_library(store, split) * (1 + 1e-4)).all()
    assert not prepared.split.audit(made, 0).errors


def median_library(store: ExpressionStore, split: Split) -> float:
    """Return the median library size of training cells, computed directly."""
    rows = split.rows(store, 0, "train")
    rows = np.union1d(rows, np.flatnonzero(store.is_control))
    return float(np.median(np.asarray(store.reader().raw(rows).sum(axis=1))))


def test_landmarks_are_found_by_probe_id_or_symbol(shared_data: SharedData, tmp_path: Path) -> None:
    ingest([shared_data("l1000/gctv13_01.gctx")], tmp_path / "store")
    store = ExpressionStore.open(tmp_path / "store")
    split = make_split(store, "unseen_compound")
    wanted = GeneSubset(genes=("200814_at", store.genes[5]))
    assert fit_preparation(store, split, 0, preparation_config([wanted])).genes == ("PSME1", store.genes[5])
