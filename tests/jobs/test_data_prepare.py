"""`pertcast data prepare` and `data export`: from a store to a trained, judged model and back to a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, simulate_atlas, write_atlas
from pertcast_data.splits import Split, make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.cli import run as pertcast

ATLAS = AtlasConfig(
    n_genes=60, n_contexts=2, n_compounds=8, n_unprofiled=2, doses=(10.0,), times=(24.0,),
    n_plates=4, n_knockouts=10, n_pairs=2, n_cells=500,
)  # fmt: skip
QUICK = ["model.config.width=16", "model.config.depth=1", "model.config.basal_width=8"]
QUICK += ["train.batch_size=32", "train.epochs=2"]
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Counts of single cells with a split by perturbed genes, and the file that they came from."""
    folder = tmp_path_factory.mktemp("cells")
    files = write_atlas(simulate_atlas(ATLAS), folder / "atlas")
    ingest([files.cells], folder / "store")
    store = ExpressionStore.open(folder / "store")
    make_split(store, "unseen_perturbation").save(folder / "split.json")
    names = {"store": folder / "store", "split": folder / "split.json", "file": files.cells}
    return lambda name: names[name]


def prepared(source: Any, out: Path, *more: str) -> int:
    words = ["data", "prepare", str(source[0]), "--split", str(source[1]), "--out", str(out), *more]
    return pertcast(words)


def train_words(folder: Path, out: Path, fold: int = 0) -> list[str]:
    data = [f"data.store={folder}", f"data.split={folder}.split.json", f"data.fold={fold}"]
    return ["train", "response_mlp", *data, *QUICK, "--out", str(out)]


def test_cells_are_prepared_trained_on_and_judged(
    cells: Callable[[str], Path], tmp_path: Path, capsys: Captured
) -> None:
    out, source = tmp_path / "top", (cells("store"), cells("split"))
    assert prepared(source, out, "--log1p", "--target-sum", "median", "--hvg", "20", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["n_genes"], facts["normalisation"], facts["fold"]) == (20, "log1p_cpm", 0)
    assert Split.load(facts["split"]).hash == facts["split_hash"]
    assert Path(facts["preparation"]) == tmp_path / "top.split.fold0.preparation.json"
    assert pertcast(["data", "validate", str(out)]) == 0
    assert pertcast(["data", "audit", facts["split"], str(out), "--fold", "0"]) == 0
    assert pertcast(train_words(out, tmp_path / "run")) == 0
    assert pertcast(["evaluate", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    assert pertcast(train_words(out, tmp_path / "other", fold=1)) == 1
    assert "was fitted on the training profiles of fold 0" in capsys.readouterr().err


def test_wells_become_responses_that_a_model_trains_on(
    small_screen: Any, tmp_path: Path, capsys: Captured
) -> None:
    out, source = tmp_path / "scores", (small_screen.store, small_screen.split)
    genes = ExpressionStore.open(small_screen.store).genes[:30]
    (tmp_path / "landmarks.txt").write_text("\n".join(genes), encoding="utf-8")
    named = ["--genes", str(tmp_path / "landmarks.txt"), "--robust-z"]
    assert prepared(source, out, *named, "--dry-run") == 0
    told = capsys.readouterr().out
    assert told.startswith("Would prepare") and "30 of 60 genes" in told and "plates" in told
    assert not out.exists()
    assert prepared(source, out, *named) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "(response, z_score)" in lines[0] and lines[-1] == f"store: {out}"
    store = ExpressionStore.open(out)
    assert store.measure == "response" and store.genes == genes
    controls = store.reader().dense(np.flatnonzero(store.is_control))
    assert np.abs(np.median(controls, axis=0)).max() < 0.5
    assert pertcast(train_words(out, tmp_path / "run")) == 0
    assert pertcast(["evaluate", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ([], 2, "nothing to prepare"),
        (["--hvg", "0"], 2, "n_top"),
        (["--hvg", "500"], 1, "500 variable genes are asked of 60"),
        (["--hvg", "9", "--hvg-flavour", "seurat"], 2, "seurat_v3"),
        (["--robust-z"], 1, "put log_normalise (--log1p) before it"),
        (["--log1p", "--target-sum", "mean"], 2, "neither a number nor median"),
        (["--log1p", "--target-sum", "-3"], 2, "greater than 0"),
        (["--log1p", "--fold", "9"], 1, "no fold 9"),
        (["--gene-column", "landmark"], 1, "no column 'landmark'"),
        (["--log1p", "--robust-z", "--min-controls", "1"], 2, "min_controls"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(
    words: list[str], code: int, told: str, cells: Callable[[str], Path], tmp_path: Path, capsys: Captured
) -> None:
    assert prepared((cells("store"), cells("split")), tmp_path / "out", *words) == code
    assert told in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_another_stores_split_is_refused(
    cells: Callable[[str], Path], small_screen: Any, tmp_path: Path, capsys: Captured
) -> None:
    assert prepared((cells("store"), small_screen.split), tmp_path / "out", "--log1p") == 1
    assert "made for" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", ["h5ad", "gctx", "parquet"])
def test_a_store_is_exported_by_the_ending_of_the_name(
    ending: str, cells: Callable[[str], Path], tmp_path: Path, capsys: Captured
) -> None:
    out = tmp_path / f"cells.{ending}"
    words = ["data", "export", str(cells("store")), "--out", str(out)]
    assert pertcast(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"file: {out}"
    assert pertcast(words) == 1
    assert "already exists" in capsys.readouterr().err


def test_an_export_as_source_equals_the_file_that_was_ingested(
    cells: Callable[[str], Path], tmp_path: Path, capsys: Captured
) -> None:
    out = tmp_path / "back.h5ad"
    words = ["data", "export", str(cells("store")), "--out", str(out), "--source-order", "--as-source"]
    assert pertcast([*words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    source, back = anndata.read_h5ad(cells("file")), anndata.read_h5ad(out)
    assert facts["n_rows"] == source.n_obs and facts["bytes"] == out.stat().st_size
    assert list(back.obs_names) == list(source.obs_names) and list(back.var_names) == list(source.var_names)
    assert np.array_equal(back.X.toarray(), source.X.toarray())


@pytest.mark.parametrize("command", ["prepare", "export"])
def test_help_has_a_copyable_example(command: str, capsys: Captured) -> None:
    assert pertcast(["data", command, "--help"]) == 0
    assert f"Example: pertcast data {command} " in capsys.readouterr().out
