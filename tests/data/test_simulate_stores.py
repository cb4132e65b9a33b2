"""The atlas through the front door: ingested like any laboratory's files, split, and still true."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pertcast_data.errors import LeakageError
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, AtlasFiles, load_truth, simulate_atlas, write_atlas
from pertcast_data.splits import Split, make_split
from pertcast_data.store import ExpressionStore

pytestmark = pytest.mark.filterwarnings("ignore:zarr v3 autosharding:UserWarning")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> AtlasFiles:
    config = AtlasConfig(
        n_genes=80,
        n_compounds=16,
        n_unprofiled=10,
        n_plates=3,
        n_knockouts=12,
        n_pairs=4,
        n_cells=900,
        n_signature_genes=40,
    )
    return write_atlas(simulate_atlas(config), tmp_path_factory.mktemp("atlas") / "small")


@pytest.fixture(scope="module")
def wells(files: AtlasFiles) -> ExpressionStore:
    ingest([files.wells], files.directory / "wells.zarr")
    return ExpressionStore.open(files.directory / "wells.zarr")


@pytest.fixture(scope="module")
def signatures(files: AtlasFiles) -> ExpressionStore:
    ingest([files.signatures], files.directory / "signatures.zarr")
    return ExpressionStore.open(files.directory / "signatures.zarr")


@pytest.fixture(scope="module")
def cells(files: AtlasFiles) -> ExpressionStore:
    ingest([files.cells], files.directory / "cells.zarr")
    return ExpressionStore.open(files.directory / "cells.zarr")


def control_and_treated_means(store: ExpressionStore) -> tuple[list[str], np.ndarray]:
    """Return the mean profile of each treated condition minus its line's and time's mean control."""
    profiles = store.reader("memory").dense(np.arange(store.n_rows))
    table = store.conditions
    means = np.stack([profiles[store.condition_of_row == row].mean(axis=0) for row in range(table.height)])
    keys = list(table.select("cell_iname", "pert_time").iter_rows())
    is_control = table["is_control"].to_numpy()
    control_of = {keys[row]: means[row] for row in np.flatnonzero(is_control)}
    treated = np.flatnonzero(~is_control)
    names = table["condition_id"].to_list()
    return [names[row] for row in treated], np.stack([means[row] - control_of[keys[row]] for row in treated])


@pytest.mark.parametrize(("screen", "agreement"), [("wells", 0.8), ("cells", 0.85)])
def test_ingested_profiles_show_the_responses_of_the_truth_file(
    screen: str, agreement: float, files: AtlasFiles, request: pytest.FixtureRequest
) -> None:
    store: ExpressionStore = request.getfixturevalue(screen)
    names, measured = control_and_treated_means(store)
    with np.load(files.truth) as truth:
        assert tuple(truth["genes"]) == store.genes
        rows = dict(zip(truth[f"{screen}_condition_id"].tolist(), truth[f"{screen}_response"], strict=True))
    assert set(rows) == set(names)
    true = np.stack([rows[name] for name in names])
    assert np.corrcoef(true.ravel(), measured.ravel())[0, 1] > agreement


def test_ingested_signatures_are_responses_that_the_truth_file_knows(
    files: AtlasFiles, signatures: ExpressionStore
) -> None:
    assert (signatures.measure, signatures.normalisation) == ("response", "z_score")
    assert not signatures.is_control.any()
    assert set(signatures.conditions["pert_type"]) == {"trt_sh", "trt_xpr", "trt_oe"}
    assert signatures.obs["targets"].equals(signatures.obs["pert_id"].rename("targets"))
    assert {"distil_cc_q75", "distil_nsample", "tas"} <= set(signatures.obs.columns)
    oracle = load_truth(files.truth)["signatures"]
    names = signatures.obs["condition_id"].to_list()
    assert oracle.genes == signatures.genes and set(oracle.responses) == set(names)
    measured = signatures.reader("memory").dense(np.arange(signatures.n_rows)).astype(np.float64)
    true = np.stack([oracle.responses[name] for name in names])
    assert np.corrcoef(true.ravel(), measured.ravel())[0, 1] > 0.6
    share = true.var(axis=0).sum() / measured.var(axis=0).sum()
    assert oracle.explainable_share == pytest.approx(share, rel=1e-3)


def test_signatures_split_by_gene_into_disjoint_genes(signatures: ExpressionStore) -> None:
    for fold in make_split(signatures, "unseen_perturbation", 3).folds:
        genes = [{name.split("|")[2] for name in part} for part in (fold.train, fold.validation, fold.test)]
        assert all(genes) and not genes[0] & genes[1] and not (genes[0] | genes[1]) & genes[2]


def test_stores_know_measure_normalisation_controls_plates_and_batches(
    wells: ExpressionStore, cells: ExpressionStore
) -> None:
    assert (wells.measure, wells.normalisation) == ("expression", "log2_intensity")
    assert (cells.measure, cells.normalisation) == ("expression", "counts")
    assert (
        wells.obs.filter(pl.col("is_control"))["batch_id"].n_unique()
        == wells.obs["batch_id"].n_unique()
        == 18
    )
    assert cells.obs.filter(pl.col("is_control"))["batch_id"].n_unique() == 4
    assert wells.conditions.filter(~pl.col("is_control"))["inchi_key"].null_count() == 0


@pytest.mark.parametrize(
    ("screen", "kind"),
    [
        ("wells", "unseen_compound"),
        ("wells", "unseen_context"),
        ("wells", "random"),
        ("wells", "all"),
        ("cells", "unseen_perturbation"),
        ("cells", "unseen_pair"),
    ],
)
def test_a_split_of_a_real_store_survives_saving_and_its_rows_are_the_treated_rows(
    screen: str, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    store: ExpressionStore = request.getfixturevalue(screen)
    make_split(store, kind, 3, seed=1).save(tmp_path / "split.json")
    split = Split.load(tmp_path / "split.json")
    rows = []
    for part in ("train", "validation", "test"):
        chosen = split.rows(store, 0, part)
        listed = set(getattr(split.folds[0], part))
        assert set(store.obs[chosen]["condition_id"]) == listed
        rows.append(chosen)
    assert np.array_equal(np.sort(np.concatenate(rows)), np.flatnonzero(~store.is_control))


def test_a_split_of_one_store_is_refused_on_another(wells: ExpressionStore, cells: ExpressionStore) -> None:
    split = make_split(wells, "unseen_compound")
    split.check(wells, 3)
    with pytest.raises(LeakageError, match=cells.data_hash):
        split.check(cells, 3)


def test_real_wells_split_by_compound_into_disjoint_structures(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    ingest([shared_data("l1000/ht115_level3_compounds.h5ad")], tmp_path / "ht115.zarr")
    store = ExpressionStore.open(tmp_path / "ht115.zarr")
    skeleton = dict(store.conditions.select("condition_id", pl.col("inchi_key").str.head(14)).iter_rows())
    for fold in make_split(store, "unseen_compound").folds:
        parts = [
            {skeleton[name] for name in part if skeleton[name]}
            for part in (fold.train, fold.validation, fold.test)
        ]
        assert all(parts) and not parts[0] & parts[1] and not (parts[0] | parts[1]) & parts[2]


def test_real_pairs_are_held_out_with_either_member(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    ingest([shared_data("perturb_seq/norman_mcfaline_devel.h5ad")], tmp_path / "norman.zarr")
    store = ExpressionStore.open(tmp_path / "norman.zarr")
    members = {name: set(name.split("|")[2].split("+")) for name in store.conditions["condition_id"]}
    for fold in make_split(store, "unseen_perturbation", n_folds=5).folds:
        easier = set().union(*(members[name] for name in (*fold.train, *fold.validation)))
        assert all(members[name] - easier for name in fold.test)
        tested_alone = {name.split("|")[2] for name in fold.test if len(members[name]) == 1}
        assert tested_alone and not tested_alone & easier
